"""HTTP in front of a node: the control API now; Hugging Face and OpenAI shapes beside it."""
