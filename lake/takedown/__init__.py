"""Pictures removed for good, from all that the lake holds of them, and kept out."""
