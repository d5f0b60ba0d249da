"""``python -m captionlake``."""

from captionlake.cli import main

main()
