"""What to do next: state machines for fetching, serving and announcing. Pure; time is an argument."""
