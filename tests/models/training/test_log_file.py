"""log.csv, and the plot of it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captionlake.errors import CaptionlakeError
from captionlake.models.training.curve import loss_figures, smooth
from captionlake.models.training.log_file import LogFile, LogLine, read_log


def line(step: int) -> LogLine:
    return LogLine(step, step / 7, 1 / step, 0.1 + 0.2, 2e-5, step * 8, 3.5, step / 3)


def test_numbers_come_back_to_the_bit(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log.csv", 0)
    for step in range(1, 9):
        log.add(line(step))
    assert read_log(tmp_path / "log.csv") == [line(step) for step in range(1, 9)]
    log.close()


def test_a_resumed_log_is_cut_at_its_state_and_half_a_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = LogFile(path, 0)
    for step in range(1, 9):
        log.add(line(step))
    log.close()
    path.write_bytes(path.read_bytes()[:-5])  # a kill in the middle of the last line
    assert [one.step for one in read_log(path)] == [1, 2, 3, 4, 5, 6, 7]
    log = LogFile(path, 4)
    log.add(line(5))
    log.close()
    assert read_log(path) == [line(step) for step in range(1, 6)]
    LogFile(path, 0).close()
    assert read_log(path) == []


def test_another_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CaptionlakeError, match="remove the file"):
        read_log(tmp_path / "log.csv")


def test_the_plot() -> None:
    assert loss_figures([line(1)], "one line") == {}
    drawn = loss_figures([line(step) for step in range(1, 100)], "name: $x$ <b>")
    with Image.open(io.BytesIO(drawn["loss.png"])) as picture:
        assert picture.size == (1040, 598)
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 100
    assert loss_figures([line(step) for step in range(1, 100)], "name: $x$ <b>") == drawn


def test_smoothing() -> None:
    values = np.arange(6.0)
    assert smooth(values, 1).tolist() == values.tolist()
    assert smooth(values, 3).tolist() == [0.0, 0.5, 1.0, 2.0, 3.0, 4.0]
