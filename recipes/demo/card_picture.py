"""A card as a browser shows it: its README.md as HTML, and the top of the page as a picture by a headless Chromium.

    python recipes/demo/card_picture.py build/demo/card docs/example-card/card.png

Needs markdown-it-py, which the tests bring, and chromium in the path.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

STYLE = """
body { font: 15px/1.5 'DejaVu Sans', sans-serif; max-width: 1000px; margin: 24px auto; padding: 0 24px; color: #1f2328 }
table { border-collapse: collapse; margin: 12px 0; font-size: 13px }
th, td { border: 1px solid #d1d9e0; padding: 4px 9px }
th { background: #f6f8fa } img { max-width: 100% } sub { color: #768390 }
code, pre { background: #f0f1f3; border-radius: 4px; font: 12.5px 'DejaVu Sans Mono', monospace }
h1, h2 { border-bottom: 1px solid #d1d9e0; padding-bottom: 5px }
"""
WIDTH, COLOURS = 1050, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card", type=Path, help="the card's folder")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--height", type=int, default=3400, help="pixels of the page that are shown")
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium in the path: install it, as with  apt-get install chromium")
    text = re.sub(r"\A---\n.*?\n---\n", "", (options.card / "README.md").read_text(), flags=re.DOTALL)
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(options.card, Path(name) / "card"))
        (folder / "card.html").write_text(f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{page}")
        shot = Path(name) / "shot.png"
        command = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={shot}"]
        window = f"--window-size={WIDTH},{options.height}"
        subprocess.run([browser, *command, window, (folder / "card.html").as_uri()], check=True, capture_output=True)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(COLOURS).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
