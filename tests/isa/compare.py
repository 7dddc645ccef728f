"""Compares the compilers' figures with the stored table, and fails where they are worse.

    python3 tests/isa/compare.py [--update] FOLDER

FOLDER has a file <target>.jsonl for each compiler that has run. With --update, the rows of those
targets are written anew, and the table of docs/src/development/compilers.md.
"""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests/isa/table.tsv"
PAGE = ROOT / "docs/src/development/compilers.md"
# The table of the page is between these.
BEGIN, END = "<!-- begin: written by tests/isa/run --update -->\n", "<!-- end -->\n"
# Of a shader. `-` where the compiler does not report it.
COLUMNS = ["lanes", "registers", "spills", "scratch", "local", "waves", "code", "cycles"]
# Waves of a scan on GCN when weights first were compiled: 2, and 3 with the RNN of 100 units, whose
# weights do not fill workgroup memory. Scans have twice as many, unless weights are in registers.
GCN = ["polaris10", "vega10"]
FIRST_WAVES = {"UNITS=100": 3}
GEMMS = ["gemm, 8 rows", "gemm, 4 rows"]
SCANS = ["scan_forward", "scan_backward"]
NORM_SCANS = ["scan_norm_forward", "scan_norm_backward"]
# Scans with weights in registers are off unless a GPU measures that they are faster.
KERNELS = [*GEMMS, *SCANS, *[f"{scan}, registers" for scan in SCANS], *NORM_SCANS, "step_forward",
           "step_backward"]
NAMES = {
    "polaris10": "GCN 4, Polaris 10 (RADV)",
    "vega10": "GCN 5, Vega 10 (RADV)",
    "navi21": "RDNA2, Navi 21 (RADV)",
    "navi31": "RDNA3, Navi 31 (RADV)",
    "dg2": "Xe-HPG, Arc (ANV)",
    "tgl": "Xe-LP, Iris Xe (ANV)",
    "turing": "Turing, TU102 (NVK)",
    "ampere": "Ampere, GA102 (NVK)",
    "dxc": "DX12 (DXC)",
}
RADV = {
    "registers": ["VGPRs"],
    "spills": ["Spilled VGPRs", "Spilled SGPRs"],
    "scratch": ["Scratch size"],
    "local": ["LDS size"],
    "waves": ["Subgroups per SIMD"],
    "code": ["Code size"],
    "cycles": ["Inverse Throughput"],
}
ANV = {
    "registers": ["Max live registers"],
    "spills": ["Spill Count"],
    "scratch": ["Scratch Memory Size"],
    "local": ["Workgroup Memory Size"],
    "code": ["Instruction Count"],
    "cycles": ["Cycle Count"],
}
NVK = {
    "registers": ["Number of GPRs"],
    "scratch": ["SLM Size"],
    "code": ["Code Size"],
}


def row(line):
    """Returns the columns of a compiled shader."""
    if "executables" not in line:
        return {"code": line["code"]}
    # A driver may compile a shader for several widths; the last is the widest.
    executable = line["executables"][-1]
    found = executable["statistics"]
    names = next(names for names in [RADV, ANV, NVK] if names["registers"][0] in found)
    values = {column: sum(found[name] for name in of) for column, of in names.items()}
    return {"lanes": executable["subgroup"], **values}


def results(folder):
    """Returns the rows of each target that has run, its compiler, and what was refused."""
    rows, compilers, refused = {}, {}, []
    for path in sorted(folder.glob("*.jsonl")):
        target = path.stem
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        compilers[target] = next((at["compiler"] for at in lines if "compiler" in at), "")
        shaders = [line for line in lines if "name" in line]
        for line in shaders:
            if line.get("error"):
                refused.append(f"{target} refuses {line['name']}:\n    {line['error']}")
            elif target != "tint":
                rows[target, line["name"]] = row(line)
        seconds = [line.get("seconds", 0) for line in shaders]
        time = f", {sum(seconds):.1f} s, the slowest {max(seconds):.2f} s" if any(seconds) else ""
        print(f"{target}: {len(shaders)} shaders{time} {compilers[target]}")
    return rows, compilers, refused


def stored():
    """Returns the rows of the table and the compiler of each target."""
    rows, compilers = {}, {}
    if not TABLE.exists():
        return rows, compilers
    for line in TABLE.read_text().splitlines():
        if line.startswith("# "):
            target, _, compiler = line[2:].partition(": ")
            compilers[target] = compiler
        elif not line.startswith("target\t"):
            target, name, *values = line.split("\t")
            values = {c: int(v) for c, v in zip(COLUMNS, values) if v != "-"}
            rows[target, name] = values
    return rows, compilers


def worse(old, new):
    """Yields what is worse in a row than in the stored one."""
    for column in ["spills", "scratch"]:
        if new.get(column, 0) > old.get(column, 0):
            yield f"{column} {old.get(column, 0)} -> {new[column]}"
    for column in ["waves", "lanes"]:
        if new.get(column, 0) < old.get(column, 0):
            yield f"{column} {old[column]} -> {new[column]}"
    if new["code"] > 2 * old.get("code", new["code"]):
        yield f"code {old['code']} -> {new['code']}"


def too_few_waves(rows):
    """Yields each scan on GCN with fewer than twice the waves of the first table."""
    for (target, name), values in sorted(rows.items()):
        words = name.split()
        if target in GCN and words[0] in SCANS and "REGISTERS=" not in name:
            least = 2 * max(FIRST_WAVES.get(word, 2) for word in words)
            if values["waves"] < least:
                yield f"{target} {name}: {values['waves']} waves, fewer than {least}"


def problems(rows, compilers):
    """Yields each difference from the table that is not allowed."""
    old_rows, old_compilers = stored()
    for target in compilers:
        old, new = old_compilers.get(target), compilers[target]
        if old is not None and old != new:
            print(f"{target}: the table is of {old}, this is {new}")
    ran = {target for target, _ in rows}
    for key in sorted({key for key in old_rows if key[0] in ran} | set(rows)):
        where = " ".join(key)
        if key not in rows:
            yield f"{where}: in the table, but no longer compiled (--update)"
        elif key not in old_rows:
            yield f"{where}: not in the table (--update)"
            yield from (f"{where}: {what}" for what in worse({}, rows[key]))
        else:
            yield from (f"{where}: {what}" for what in worse(old_rows[key], rows[key]))


def write_table(rows, compilers):
    old_rows, old_compilers = stored()
    ran = {target for target, _ in rows}
    kept = {key: value for key, value in old_rows.items() if key[0] not in ran}
    all_rows = {**kept, **rows}
    of = {**old_compilers, **{target: compilers[target] for target in ran}}
    lines = [f"# {target}: {of[target]}" for target in sorted(of)]
    lines.append("\t".join(["target", "shader", *COLUMNS]))
    for (target, name), values in sorted(all_rows.items()):
        texts = [str(values.get(column, "-")) for column in COLUMNS]
        lines.append("\t".join([target, name, *texts]))
    TABLE.write_text("\n".join(lines) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + summary(all_rows, of) + END + after)


def extent(values):
    """Returns the least and the largest of values, which may be missing."""
    values = [value for value in values if value is not None]
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def kind(name):
    """Returns the line of the summary that a shader belongs to."""
    kernel = name.split()[0]
    if kernel == "gemm":
        return GEMMS["ROWS=4" in name.split()]
    if "REGISTERS=" in name:
        kernel += ", registers"
    return kernel if kernel in KERNELS else "others"


def summary(rows, compilers):
    """Returns the table of the page: the extent of each figure, by target and kernel."""
    columns = [column for column in COLUMNS if column != "cycles"]
    lines = []
    for target, title in NAMES.items():
        if target not in {key[0] for key in rows}:
            continue
        compiler = compilers.get(target)
        lines += ["", f"**{title}**" + (f", {compiler}" if compiler else ""), ""]
        lines.append("| kernel | shaders | " + " | ".join(columns) + " |")
        lines.append("|---|--:|" + "--:|" * len(columns))
        own = {name: value for (at, name), value in rows.items() if at == target}
        for kernel in [*KERNELS, "others"]:
            found = [value for name, value in own.items() if kind(name) == kernel]
            texts = [extent([value.get(column) for value in found]) for column in columns]
            lines.append(f"| {kernel} | {len(found)} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n\n"


def main():
    arguments = sys.argv[1:]
    update = "--update" in arguments
    [folder] = [argument for argument in arguments if argument != "--update"]
    rows, compilers, found = results(Path(folder))
    # A refused shader and too few waves are never right; other figures may be the new table.
    found += too_few_waves(rows)
    if update:
        write_table(rows, compilers)
    else:
        found += problems(rows, compilers)
    for problem in found:
        print(problem)
    print(f"{len(found)} problems, {len(rows)} rows of figures")
    sys.exit(1 if found else 0)


main()
