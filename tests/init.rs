//! `gatescan init` on files as users have them: what it says, what it refuses, and that what it
//! writes trains.

mod common;

use std::fs;
use std::io::Write;

use common::place::{Workspace, assert_has};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

fn wave(n: usize) -> String {
    format!("{:.3}", (n as f64 * 0.3).sin())
}

/// A header, and a row for each number below `count`.
fn rows(header: &str, count: usize, row: impl Fn(usize) -> String) -> String {
    let rows: String = (0..count).map(|n| row(n) + "\n").collect();
    format!("{header}\n{rows}")
}

/// Runs `init` on a file of this name and contents, and trains the recipe for an epoch. Returns
/// what `init` printed.
#[track_caller]
fn trained(name: &str, contents: &[u8], flags: &[&str]) -> String {
    let place = Workspace::new();
    fs::write(place.path(name), contents).unwrap();
    let seen = place
        .run(&[&["init", name, "-o", "r.toml"], flags].concat())
        .ok();
    let train = [
        "train", "r.toml", "--device", "cpu", "--epochs", "1", "--quiet", "--out", "run",
    ];
    place.run(&train).ok();
    seen
}

#[test]
fn files_in_other_encodings_and_packed_ones_train() {
    let table = rows("time,stra\u{df}e", 60, |n| format!("{n},{}", wave(n)));
    let latin: Vec<u8> = table.chars().map(|c| c as u8).collect();
    let utf16: Vec<u8> = table.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(table.as_bytes()).unwrap();
    for (name, contents) in [
        ("bom.csv", [b"\xef\xbb\xbf", table.as_bytes()].concat()),
        ("latin.csv", latin),
        ("wide.csv", [b"\xff\xfe", &utf16[..]].concat()),
        ("packed.csv.gz", encoder.finish().unwrap()),
    ] {
        let seen = trained(name, &contents, &[]);
        assert_has(
            &seen,
            &[
                "a forecast of stra\u{df}e, one row ahead",
                "left out: it only counts up",
            ],
        );
    }
    // A series may be packed, too.
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(rows("0", 60, wave).as_bytes()).unwrap();
    let seen = trained("series.txt.gz", &encoder.finish().unwrap(), &[]);
    assert_has(&seen, &["a series of 61 values"]);
}

#[test]
fn sequences_of_the_archives_train() {
    let place = Workspace::new();
    let case = |n: usize| {
        let dim = |shift: usize| -> String {
            let values: Vec<String> = (0..8 + n % 3)
                .map(|t| wave(t * (1 + n % 2) + shift))
                .collect();
            values.join(",")
        };
        format!("{}:{}:{}", dim(0), dim(3), 1 + n % 2)
    };
    let header = "@problemName toy\n@timeStamps false\n@univariate false\n@dimensions 2\n\
                  @equalLength false\n@classLabel true 1 2\n@data";
    for (name, count) in [("Toy_TRAIN.ts", 20), ("Toy_TEST.ts", 12)] {
        fs::write(place.path(name), rows(header, count, case)).unwrap();
    }
    let seen = place.run(&["init", "Toy_TRAIN.ts"]).ok();
    assert_has(
        &seen,
        &[
            "20 sequences become rows",
            "Toy_TEST.ts lies beside it and is the test split: data.test_path",
            "a classification by class, of whole groups: 20 sequences of 8 to 10 steps to train on, \
             12 to test on",
        ],
    );
    let train = [
        "train",
        "Toy_TRAIN.toml",
        "--device",
        "cpu",
        "--epochs",
        "2",
        "--quiet",
        "--out",
        "run",
    ];
    place.run(&train).ok();
    let answers = place
        .run(&["predict", "run", "Toy_TEST.ts", "--device", "cpu"])
        .ok();
    assert_eq!(answers.lines().count(), 13, "{answers}");

    let attributes: String = (1..=12)
        .map(|n| format!("@attribute att{n} numeric\n"))
        .collect();
    let header = format!("@relation toy\n{attributes}@attribute target {{1,2}}\n@data");
    let contents = rows(&header, 20, |n| {
        let values: Vec<String> = (0..12).map(|t| wave(t * (1 + n % 2))).collect();
        format!("{},{}", values.join(","), 1 + n % 2)
    });
    let seen = trained("toy.arff", contents.as_bytes(), &[]);
    assert_has(
        &seen,
        &[
            "`att1` to `att12` are taken as the steps",
            "a classification by target",
        ],
    );
}

#[test]
fn what_was_found_is_said_with_the_flag_that_decides_otherwise() {
    let place = Workspace::new();
    let table = rows("pump,day,flow", 300, |n| {
        format!("{},{},{}", 100 + n / 50, n % 50, wave(n))
    });
    fs::write(place.path("pumps.csv"), &table).unwrap();
    let seen = place.run(&["init", "pumps.csv"]).ok();
    assert_has(
        &seen,
        &[
            "- `pump` tells series apart: its 6 values are 6 blocks",
            "(if not: name the column that tells series apart with --group COLUMN, or say --no-group)",
            "- `day` is the time and ascends within each group, in steps of 1 (if not: name the column \
             of times with --time COLUMN)",
        ],
    );
    let seen = place
        .run(&[
            "init",
            "pumps.csv",
            "--no-group",
            "-o",
            "one.toml",
            "--json",
        ])
        .ok();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    let found = seen["found"].as_array().unwrap();
    assert!(
        found
            .iter()
            .all(|text| !text.as_str().unwrap().contains("tells series apart:")),
        "{found:?}"
    );
    let recipe = fs::read_to_string(place.path("one.toml")).unwrap();
    assert!(!recipe.contains("group ="), "{recipe}");
    let message = place
        .run(&["init", "pumps.csv", "--no-group", "--group", "pump"])
        .fails(2);
    assert_has(&message, &["--no-group", "--group"]);
    let message = place
        .run(&["init", "pumps.csv", "--time", "dya", "-o", "x.toml"])
        .fails(2);
    assert_has(
        &message,
        &["time is dya; it must be one of the columns pump, day, flow"],
    );
}

#[test]
fn the_season_is_that_of_the_lowest_error_and_not_one_beside_it() {
    let place = Workspace::new();
    // A day of 24 steps: the value 23 steps before is nearly as good.
    let row = |n: usize| {
        let noise = (n * 7919 % 101) as f64 / 100.0;
        format!("{:.3}", (n as f64 * 0.2618).sin() * 10.0 + 3.0 * noise)
    };
    fs::write(place.path("day.csv"), rows("v", 900, row)).unwrap();
    let said = place.run(&["init", "day.csv", "--horizon", "1..24"]).ok();
    assert_has(&said, &["the values repeat after 24 steps"]);
}

#[test]
fn rows_that_are_not_in_order_are_sorted() {
    let table = rows("date,close", 28, |n| {
        format!("2024-02-{:02},{}", 28 - n, wave(n))
    });
    let seen = trained("newest.csv", table.as_bytes(), &["--steps", "2"]);
    assert_has(
        &seen,
        &[
            "descends, the newest row first",
            "time, sorts the rows",
            "28 rows of 28 were sorted by `date`",
        ],
    );
}

#[test]
fn groups_without_windows_are_named() {
    let name = |n: usize| {
        if n < 100 {
            "a"
        } else if n < 112 {
            "b"
        } else {
            ""
        }
    };
    let table = rows("group,v", 121, |n| format!("{},{}", name(n), wave(n)));
    let seen = trained("short.csv", table.as_bytes(), &["--steps", "15"]);
    assert_has(
        &seen,
        &[
            "b (12 rows)",
            "9 rows without a value of `group` are left out, the first at line 114",
        ],
    );
}

#[test]
fn cells_that_are_filled_are_counted() {
    let table = rows("t,v", 100, |n| {
        if n % 10 == 3 {
            format!("{n},")
        } else {
            format!("{n},{}", wave(n))
        }
    });
    let seen = trained("gaps.csv", table.as_bytes(), &[]);
    assert_has(
        &seen,
        &[
            "10 missing inputs are filled with the value before: v 10",
            "of the training split are left out, because their targets have no value",
        ],
    );
    // A blank line of one column is a missing value.
    let table = rows("v", 60, |n| if n == 20 { String::new() } else { wave(n) });
    assert_has(
        &trained("blank.csv", table.as_bytes(), &[]),
        &["60 rows", "1 missing inputs are filled"],
    );
}

#[test]
fn what_is_no_table_is_refused_with_a_way_out() {
    let place = Workspace::new();
    let prose = "It was a dark night, said the captain.\n".repeat(60);
    for (name, contents, parts) in [
        (
            "novel.txt",
            prose.as_bytes(),
            &["is prose", "gatescan train text --data novel.txt"][..],
        ),
        (
            "a.parquet",
            b"PAR1\0\0\0\0PAR1",
            &["Parquet", "read_parquet('a.parquet')"],
        ),
        ("a.json", b"[{\"a\": 1}]\n", &["a JSON file", "read_json"]),
        ("a.toml", b"name = \"a\"\n", &["is a recipe and no data"]),
        ("a.csv", b"t,rate\n0,1\n1,12..5\n", &["at least 10"]),
    ] {
        fs::write(place.path(name), contents).unwrap();
        let message = place.run(&["init", name, "-o", "x.toml"]).fails(1);
        assert_has(&message, parts);
        assert!(!place.path("x.toml").exists());
    }
    let table = rows("day,rate", 60, |n| {
        if n == 15 {
            "15,12..5".into()
        } else {
            format!("{n},{}", wave(n))
        }
    });
    fs::write(place.path("dots.csv"), table).unwrap();
    let message = place.run(&["init", "dots.csv"]).fails(1);
    assert_has(
        &message,
        &[
            "59 of 60 cells are numbers, but line 17 has `12..5`",
            "name the target column with --target COLUMN",
        ],
    );
}

#[test]
fn training_on_data_in_place_of_a_recipe_names_the_command() {
    let place = Workspace::new();
    fs::write(
        place.path("mine.csv"),
        rows("t,v", 60, |n| format!("{n},{}", wave(n))),
    )
    .unwrap();
    fs::write(place.path("mine.txt"), rows("0", 60, wave)).unwrap();
    fs::write(
        place.path("story.txt"),
        "The sea was calm that night.\n".repeat(9),
    )
    .unwrap();
    fs::write(place.path("broken.toml"), "t,v\n1,2\n").unwrap();
    for (path, parts) in [
        (
            "mine.csv",
            &["looks like a table", "`gatescan init mine.csv`"][..],
        ),
        (
            "mine.txt",
            &["looks like a series of numbers", "`gatescan init mine.txt`"],
        ),
        ("data/../data", &["looks like a directory of data"]),
        (
            "story.txt",
            &["looks like a text", "gatescan train text --data story.txt"],
        ),
        ("broken.toml", &["broken.toml:1:"]),
    ] {
        let run = place.run(&["train", path, "--device", "cpu"]);
        assert!(
            matches!(run.code, Some(1 | 2)) && run.stdout.is_empty(),
            "{:?}",
            run.code
        );
        assert_has(&run.stderr, parts);
    }
}

#[test]
fn long_names_and_many_columns_are_shortened() {
    let place = Workspace::new();
    let long = "x".repeat(70_000);
    fs::write(
        place.path("long.csv"),
        rows(&format!("{long},b"), 60, |n| {
            format!("{},{}", wave(n), wave(2 * n))
        }),
    )
    .unwrap();
    let seen = place.run(&["init", "long.csv"]).ok();
    assert!(seen.len() < 2000, "{}", seen.len());
    let names: Vec<String> = (0..500).map(|n| format!("c{n}")).collect();
    let row = |n: usize| -> String {
        let cells: Vec<String> = (0..500).map(|c| wave(n * (c + 1))).collect();
        cells.join(",")
    };
    fs::write(place.path("many.csv"), rows(&names.join(","), 30, row)).unwrap();
    assert_has(
        &place.run(&["init", "many.csv"]).ok(),
        &["... and 400 more"],
    );
}

#[test]
fn standard_output_is_no_file() {
    let place = Workspace::new();
    fs::write(place.path("a.csv"), "x,y\n1,2\n").unwrap();
    let message = place.run(&["init", "a.csv", "-o", "-"]).fails(2);
    assert_has(&message, &["not standard output"]);
    assert!(!place.path("-").exists());
}

#[test]
fn a_recipe_in_another_directory_has_absolute_paths() {
    let place = Workspace::new();
    for name in ["Toy_TRAIN.csv", "Toy_TEST.csv"] {
        let table = rows("group,x,label", 80, |n| {
            format!("g{},{},{}", n / 8, wave(n), n / 8 % 2)
        });
        fs::write(place.path(name), table).unwrap();
    }
    fs::create_dir(place.path("sub")).unwrap();
    place
        .run(&["init", "Toy_TRAIN.csv", "-o", "sub/toy.toml"])
        .ok();
    let recipe = fs::read_to_string(place.path("sub/toy.toml")).unwrap();
    let absolute = place.path("Toy_TEST.csv").canonicalize().unwrap();
    assert_has(
        &recipe,
        &[&format!("test_path = \"{}\"", absolute.display())],
    );
}
