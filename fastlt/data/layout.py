"""The arrays of a shard. Each is a contiguous HDF5 dataset, so a plain read at its place in the file fetches it.

bytes         uint8        all records, one after the other
offset        uint64 [n+1] record i is bytes[offset[i]:offset[i + 1]]
crc32         uint32 [n]   of each record
height, width uint32 [n]   pixels, after EXIF orientation
label_indptr  uint64 [n+1] labels as compressed rows; an absent class has the attribute label_default
label_index   uint32 [nnz]
label_value   int8 [nnz]   1 positive, 0 negative, -1 unknown
id            UTF-8 of fixed length, zero-padded
"""

ARRAYS = {
    "offset": "<u8",
    "crc32": "<u4",
    "height": "<u4",
    "width": "<u4",
    "label_indptr": "<u8",
    "label_index": "<u4",
    "label_value": "<i1",
}
IDS = "id"
BYTES = "bytes"
FORMAT = "fastlt-shard"
VERSION = 1


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.h5"
