"""What the files of benchmarks have in common, for whoever reads them: pictures by name, MMBench's table, MME's folders."""

from captionlake.lake.benchmarks.heads import files_with
from captionlake.lake.benchmarks.picture_files import PictureFiles
from captionlake.lake.benchmarks.picture_table import TableRow, picture_in, plain_index, table_columns, table_rows

__all__ = ["PictureFiles", "TableRow", "files_with", "picture_in", "plain_index", "table_columns", "table_rows"]
