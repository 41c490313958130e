"""What to do next: state machines for fetching, serving, announcing. Pure; time is an argument."""
