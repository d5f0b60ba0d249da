"""Publishing to the Hugging Face Hub: staged, checked, uploaded to a branch, read back, and only then put on main in one commit."""
