"""Pictures at hand: folders, zips, tars and Parquet files, listed and read in place. No member is ever unpacked to disk."""

from captionlake.lake.archives.member import Member, MemberError, row_for
from captionlake.lake.archives.reader import ArchiveReader, members

__all__ = ["ArchiveReader", "Member", "MemberError", "members", "row_for"]
