"""Opens tables as other people's programs do: filters, sorts, joins and writes them as CSV.

Usage: readers.py TABLE... Prints a line per table: version, rows, row groups, and every type. Exit code 77: a module is missing.
"""

import sys
import tempfile

try:
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.csv as csv
    import pyarrow.parquet as parquet
except ImportError as error:
    print(error)
    sys.exit(77)

for path in sys.argv[1:]:
    table = parquet.read_table(path)
    file = parquet.ParquetFile(path)
    first = table["id"][0].as_py() if table.num_rows else ""
    wanted = sum(value == first for value in table["id"].to_pylist())
    assert parquet.read_table(path, filters=[("id", "==", first)]).num_rows == wanted
    assert table.filter(compute.equal(table["id"], first)).num_rows == wanted
    assert table.sort_by("id")["id"].to_pylist() == sorted(table["id"].to_pylist())
    names = table.select(["id"]).group_by("id").aggregate([])
    assert table.join(names, keys="id").num_rows == table.num_rows
    assert len(table.group_by("id").aggregate([("id", "count")])) == names.num_rows
    with tempfile.NamedTemporaryFile(suffix=".csv") as copy:
        csv.write_csv(table, copy.name)
        assert csv.read_csv(copy.name).num_rows == table.num_rows
    for group in range(file.metadata.num_row_groups):
        columns = [file.metadata.row_group(group).column(at) for at in range(file.metadata.num_columns)]
        assert all(column.is_stats_set and column.statistics.has_null_count for column in columns), path
    types = sorted({str(field.type) for field in table.schema})
    print(table.num_rows, file.metadata.num_row_groups, " ".join(types))
