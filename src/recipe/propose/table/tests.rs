//! Proposals for tables of many layouts.

use std::fs;

use super::super::{DataFinding, GroupHint, Hints, Proposal, Role, propose};
use crate::data::SplitBy;
use crate::data::csv::Csv;
use crate::data::preparation::Missing;
use crate::error::Error;
use crate::recipe::DataRecipe;

fn proposed(text: &str, hints: &Hints) -> Result<Proposal, Error> {
    let directory = tempfile::tempdir().expect("there is one");
    let path = directory.path().join("table.csv");
    fs::write(&path, text).expect("it is written");
    propose(&path, hints)
}

fn guessed(text: &str) -> Proposal {
    proposed(text, &Hints::default()).expect("it is proposed")
}

fn refused(text: &str) -> String {
    proposed(text, &Hints::default())
        .expect_err("it is refused")
        .to_string()
}

fn csv(proposal: &Proposal) -> &Csv {
    match &proposal.recipe.data {
        DataRecipe::Csv(csv) => csv,
        other => panic!("{other:?}"),
    }
}

fn role(proposal: &Proposal, name: &str) -> Role {
    let mut parts = proposal.parts.iter();
    parts
        .find(|part| part.name == name)
        .expect("there is such a column")
        .role
}

#[track_caller]
fn assert_says(proposal: &Proposal, expected: &str) {
    let texts: Vec<&String> = proposal
        .findings
        .iter()
        .map(|finding| &finding.text)
        .collect();
    assert!(
        texts.iter().any(|text| text.contains(expected)),
        "no `{expected}` in {texts:#?}"
    );
}

/// A table with a header and a row for each number below `count`.
fn rows(header: &str, count: usize, row: impl Fn(usize) -> String) -> String {
    let rows: String = (0..count).map(|n| row(n) + "\n").collect();
    format!("{header}\n{rows}")
}

fn wave(n: usize) -> String {
    format!("{:.3}", (n as f64 * 0.3).sin())
}

/// The n-th day of 2024.
fn day(n: usize) -> String {
    const DAYS: [usize; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let (mut month, mut day) = (0, n);
    while day >= DAYS[month] {
        (month, day) = (month + 1, day - DAYS[month]);
    }
    format!("2024-{:02}-{:02}", month + 1, day + 1)
}

#[test]
fn numbers_have_decimal_commas_where_another_character_divides_cells() {
    let comma = |n: usize| wave(n).replace('.', ",");
    let proposal = guessed(&rows("zeit;temp", 60, |n| format!("{n};{}", comma(n))));
    assert_eq!(
        (csv(&proposal).delimiter, csv(&proposal).decimal),
        (';', ',')
    );
    assert_eq!(role(&proposal, "temp"), Role::InputAndTarget);
    assert_eq!(role(&proposal, "zeit"), Role::LeftOut("it only counts up"));
    assert_says(
        &proposal,
        "numbers such as `0,000` (line 2) have decimal commas",
    );
    // One column: the comma divides no cells.
    let proposal = guessed(&rows("temp", 60, comma));
    assert_eq!(csv(&proposal).decimal, ',');
    let proposal = guessed(&rows("t;p", 60, |n| format!("{n};1.{:03},5", n * 37 % 60)));
    assert_eq!(csv(&proposal).decimal, ',');
    assert!(
        proposal.parts[1]
            .contents
            .starts_with("numbers, 1000.5 to 1059.5")
    );
    // Quoted in a file whose cells commas divide.
    let message = refused(&rows("t,temp", 60, |n| format!("{n},\"{}\"", comma(n))));
    assert!(
        message.contains("save the file with semicolons"),
        "{message}"
    );
}

#[test]
fn separators_of_thousands_are_recognised() {
    let proposal = guessed(&rows("t,p", 60, |n| {
        format!("{n},\"{},{:03}\"", 4 + n % 3, n * 7)
    }));
    assert_eq!(csv(&proposal).thousands, Some(','));
    assert_says(
        &proposal,
        "`4,000` (line 2) is read with commas between thousands",
    );
    let proposal = guessed(&rows("t;p", 60, |n| {
        format!("{n};{}'{:03}.5", 4 + n % 3, n * 7)
    }));
    assert_eq!(csv(&proposal).thousands, Some('\''));
    assert_says(&proposal, "data.thousands = \"'\"");
}

#[test]
fn a_cell_that_is_no_number_is_named() {
    let text = |bad: &'static str| {
        rows("time,rate", 60, move |n| {
            let cell = if n == 16 { bad.into() } else { wave(n) };
            format!("{n},{cell}")
        })
    };
    let message = refused(&text("12..5"));
    for part in [
        "no column can be the target",
        "`time`: it only counts up",
        "`rate`: 59 of 60 cells are numbers, but line 18 has `12..5`",
        "set the hint `target`",
    ] {
        assert!(message.contains(part), "{message}");
    }
    for mark in ["-", ".", "#N/A", "n.d."] {
        let proposal = guessed(&text(mark));
        assert_eq!(
            csv(&proposal).missing_marks.as_deref(),
            Some(&[mark.to_string()][..])
        );
        assert_eq!(csv(&proposal).missing, Missing::Forward);
        assert_says(
            &proposal,
            &format!("taken as marks of missing values (data.missing_marks): `{mark}`"),
        );
    }
    // Usual marks need no list.
    assert_eq!(csv(&guessed(&text("NA"))).missing_marks, None);
    let proposal = guessed(&text("-999"));
    assert_says(
        &proposal,
        "`rate` has -999 in 1 row, the first at line 18, far from its other values",
    );
}

#[test]
fn usual_marks_are_listed_beside_others() {
    let proposal = guessed(&rows("t,a,b", 60, |n| {
        let (a, b) = if n == 5 {
            ("-".into(), "NA".into())
        } else {
            (wave(n), wave(2 * n))
        };
        format!("{n},{a},{b}")
    }));
    let marks = csv(&proposal).missing_marks.clone();
    assert_eq!(marks, Some(vec!["-".to_string(), "NA".to_string()]));
}

#[test]
fn a_class_may_have_the_name_of_a_mark() {
    let classes = ["none", "NA", "?"];
    let proposal = guessed(&rows("x,label", 120, |n| {
        format!("{},{}", wave(n), classes[n / 4 % 3])
    }));
    assert_eq!(proposal.splits.preparation.classes, ["?", "NA", "none"]);
    assert_says(&proposal, "`none` is a class of `label` (40 rows)");
    assert_eq!(csv(&proposal).missing_marks, None);
}

#[test]
fn counters_times_and_identifiers_are_never_forecast_unasked() {
    for (text, expected) in [
        (
            rows("zeit,name", 60, |n| format!("{n},n{n}")),
            "`zeit`: it only counts up",
        ),
        (
            rows("day,name", 60, |n| format!("{},n{n}", 60 - n)),
            "`day`: it is the time",
        ),
        (
            rows("date,id", 60, |n| format!("{},{}", day(n), n * 37 % 101)),
            "`id`: it identifies rows",
        ),
        (
            rows("index,row", 60, |n| format!("{n},{}", n * 37 % 60)),
            "`row`: it identifies rows",
        ),
        (
            rows("t,x", 60, |n| format!("{n},5")),
            "`x`: it is a constant",
        ),
    ] {
        let error = proposed(&text, &Hints::default()).expect_err("it is refused");
        assert!(matches!(error, Error::Undecided { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let hints = Hints {
        target: Some("zeit".into()),
        ..Hints::default()
    };
    let proposal =
        proposed(&rows("zeit,name", 60, |n| format!("{n},n{n}")), &hints).expect("asked for");
    assert_says(
        &proposal,
        "because the hint asks for it, although it only counts up",
    );
    // Beside a date, numbers in equal steps may be measured.
    let proposal = guessed(&rows("date,close", 60, |n| {
        format!("{},{}", day(n), 100.5 + n as f64)
    }));
    assert_says(
        &proposal,
        "`close` is the target, because no other column can be, although it only",
    );
    // The only column is no counter of others.
    let proposal = guessed(&rows("v", 100, |n| n.to_string()));
    assert_eq!(
        proposal.task,
        "a forecast of v, one row ahead, from windows of 10 rows"
    );
    assert_says(&proposal, "because no other column can be");
}

#[test]
fn the_order_of_times_is_looked_at() {
    let table = |order: fn(usize) -> usize| {
        guessed(&rows("date,close", 100, |n| {
            format!("{},{}", day(order(n)), wave(n))
        }))
    };
    let ascending = table(|n| n);
    assert_eq!(
        (csv(&ascending).time.as_deref(), role(&ascending, "date")),
        (Some("date"), Role::Time)
    );
    assert_says(
        &ascending,
        "`date` is the time and ascends, in steps of 1 day",
    );
    let descending = table(|n| 99 - n);
    assert_eq!(
        (csv(&descending).time.as_deref(), role(&descending, "date")),
        (Some("date"), Role::Time)
    );
    assert_says(&descending, "descends, the newest row first");
    let shuffled = table(|n| n * 37 % 100);
    assert_eq!(csv(&shuffled).time.as_deref(), Some("date"));
    assert_says(
        &shuffled,
        "of 100 rows are before the row above, the first at line 5",
    );
    let gaps = table(|n| if n < 50 { n } else { n + 7 });
    assert_says(
        &gaps,
        "irregular: most are 1 day, but 1 of 99 are not, the first at line 52 (8 days)",
    );
    let repeated = table(|n| n / 2 + n / 50);
    assert_says(&repeated, "rows with the time of another");
}

#[test]
fn a_hint_names_the_time() {
    let text = rows("when,close", 60, |n| format!("{},{}", n * 7 % 60, wave(n)));
    let hints = Hints {
        time: Some("when".into()),
        ..Hints::default()
    };
    let proposal = proposed(&text, &hints).expect("it is valid");
    assert_eq!(
        (csv(&proposal).time.as_deref(), role(&proposal, "when")),
        (Some("when"), Role::Time)
    );
    let hints = Hints {
        time: Some("place".into()),
        ..Hints::default()
    };
    let text = rows("place,close", 60, |n| format!("p{n},{}", wave(n)));
    let message = proposed(&text, &hints).expect_err("no times").to_string();
    assert!(
        message.contains("the column `place` cannot be the time: `p0` is neither"),
        "{message}"
    );
    let hints = Hints {
        time: Some("tiem".into()),
        ..Hints::default()
    };
    let message = proposed(&text, &hints)
        .expect_err("no such column")
        .to_string();
    assert_eq!(
        message,
        "time is tiem; it must be one of the columns place, close"
    );
}

#[test]
fn times_of_several_columns_are_one() {
    let month = |n: usize| format!("{},{},{}", 2000 + n / 12, n % 12 + 1, wave(n));
    let proposal = guessed(&rows("year,month,level", 120, month));
    assert_eq!(csv(&proposal).group, None);
    assert_says(
        &proposal,
        "`year` and `month` are the time together; the rows ascend in it",
    );
    assert_eq!(
        role(&proposal, "month"),
        Role::LeftOut("the forecast is no better with it")
    );
    let message = refused(&rows("year,month,level", 120, |n| month(119 - n)));
    assert!(
        message.contains("not in the order of `year` and `month` together"),
        "{message}"
    );
    let clock = |n: usize| {
        format!(
            "{};{:02}.00.00;{}",
            day(n / 24),
            n % 24,
            wave(n).replace('.', ",")
        )
    };
    let proposal = guessed(&rows("Date;Time;CO", 480, clock));
    assert_eq!(csv(&proposal).group, None);
    assert_says(&proposal, "`Date` and `Time` are the time together");
}

#[test]
fn groups_are_recognised_by_their_structure() {
    let blocks = rows("pump,day,flow", 300, |n| {
        format!("{},{},{}", 100 + n / 50, n % 50, wave(n))
    });
    let proposal = guessed(&blocks);
    assert_eq!(csv(&proposal).group.as_deref(), Some("pump"));
    assert_eq!(csv(&proposal).inputs, ["flow"]);
    assert_says(
        &proposal,
        "`pump` tells series apart: its 6 values are 6 blocks of about 50 rows, in which `day` \
         starts again (first at line 52)",
    );
    let panel = |n: usize| format!("{},{},{}", day(n / 3), 11 + n % 3, wave(n));
    for order in [|n: usize| n, |n: usize| n * 37 % 300] {
        let proposal = guessed(&rows("date,shop_nr,sales", 300, |n| panel(order(n))));
        assert_eq!(csv(&proposal).group.as_deref(), Some("shop_nr"));
        assert_says(
            &proposal,
            "the times of `date` occur once for each of its 3 values",
        );
    }
    let takes = rows("which,x,state", 160, |n| {
        format!("w{},{},{}", n / 8, wave(n), ["up", "down"][n / 8 % 2])
    });
    let proposal = guessed(&takes);
    assert_eq!(proposal.task, "a classification by state, of whole groups");
    assert_says(
        &proposal,
        "are blocks of rows, each with one value of `state`",
    );
    assert_eq!(csv(&proposal).split_by, SplitBy::Class);
}

#[test]
fn measured_columns_are_no_groups() {
    for text in [
        rows("year,rain", 60, |n| format!("{},{}", 1900 + n, 500 + n % 9)),
        rows("date,open,kind", 100, |n| {
            format!("{},{},{}", day(n), n % 4, n % 4 / 2)
        }),
        rows("t,a,b", 100, |n| format!("{n},{},{}", n / 10, wave(n))),
        rows("a,b", 100, |n| format!("{},{}", n % 5, wave(n))),
    ] {
        assert_eq!(csv(&guessed(&text)).group, None, "{text}");
    }
}

#[test]
fn groups_can_be_told_and_denied() {
    let text = rows("none,day,flow", 300, |n| {
        format!("s{},{},{}", n / 50, n % 50, wave(n))
    });
    let proposal = guessed(&text);
    assert_eq!(csv(&proposal).group.as_deref(), Some("none"));
    let hinted = |group| {
        let hints = Hints {
            group,
            ..Hints::default()
        };
        proposed(&text, &hints)
    };
    assert_eq!(
        csv(&hinted(GroupHint::None).expect("it is valid")).group,
        None
    );
    let proposal = hinted(GroupHint::Column("none".into())).expect("it is valid");
    assert_eq!(csv(&proposal).group.as_deref(), Some("none"));
    let message = hinted(GroupHint::Column("pump".into()))
        .expect_err("no such column")
        .to_string();
    assert_eq!(
        message,
        "group is pump; it must be one of the columns none, day, flow"
    );
}

#[test]
fn series_that_nothing_tells_apart_are_said() {
    let proposal = guessed(&rows("t,x", 160, |n| format!("{},{}", n % 40, wave(n))));
    assert_says(&proposal, "`t` starts again 3 times, first at line 42");
    let text = rows("date,town,kind,sales", 300, |n| {
        format!(
            "{},{},{},{}",
            day(n / 6),
            ["A", "B"][n / 3 % 2],
            ["x", "y", "z"][n % 3],
            wave(n)
        )
    });
    let message = refused(&text);
    assert!(
        message.contains("the columns `town` and `kind` tell series apart only together"),
        "{message}"
    );
}

#[test]
fn each_split_has_all_classes() {
    let classes = ["idle", "walk", "run"];
    let sorted = rows("a,kind", 360, |n| {
        format!("{},{}", wave(n), classes[n / 120])
    });
    let proposal = guessed(&sorted);
    assert_eq!(csv(&proposal).split_by, SplitBy::Class);
    assert_says(&proposal, "the split is by class");
    assert_says(
        &proposal,
        "because else the test split has no `idle`, `walk`",
    );
    let Proposal { splits, .. } = &proposal;
    let test = splits.test.as_ref().expect("there is one");
    assert!(
        10 * test.count >= splits.train.count + test.count,
        "{}",
        test.count
    );
    let mixed = rows("a,kind", 360, |n| {
        format!("{},{}", wave(n), classes[n / 4 % 3])
    });
    let proposal = guessed(&mixed);
    assert_eq!(csv(&proposal).split_by, SplitBy::Order);
    let rare = rows("a,kind", 360, |n| {
        format!("{},{}", wave(n), classes[usize::from(n == 200)])
    });
    assert_says(&guessed(&rare), "the test split has no `walk`");
}

#[test]
fn a_first_line_of_data_is_no_header() {
    for (text, expected) in [
        (
            "1,2\n".repeat(20),
            "line 1 has only numbers (1, 2); put a header above it",
        ),
        (
            rows("2023-12-31,0.5,ok", 20, |n| {
                format!("{},{},ok", day(n), wave(n))
            }),
            "line 1 looks like a row",
        ),
        (
            rows("d0,0.5", 20, |n| format!("d{},{}", n + 1, wave(n))),
            "line 1 looks like a row",
        ),
    ] {
        let message = refused(&text);
        assert!(message.contains(expected), "{message}");
    }
    let wide = guessed(&rows("place,1990,1991", 20, |n| {
        format!("p{n},{},{}", wave(n), wave(2 * n))
    }));
    assert_says(&wide, "the names of columns such as `1990` are years");
}

#[test]
fn lines_that_are_no_rows_are_named() {
    let table = rows("time,a,b", 60, |n| {
        format!("{n},{},{}", wave(n), wave(2 * n))
    });
    for (text, expected) in [
        (
            format!("A report\nby,me\n\n{table}"),
            "from line 4 on; the header must be the first line",
        ),
        (
            format!("{table}Source: me\n"),
            "line 62, the first of the last lines",
        ),
        (
            table.replacen("time,", "", 1),
            "names of rows, as R writes them",
        ),
        (
            table.replacen("\n9,", "\n9,9,", 1),
            "line 11: there are 4 cells where the header has 3",
        ),
        (String::new(), "is empty"),
        ("a,b\n1,2\n".into(), "at least 10"),
    ] {
        let message = refused(&text);
        assert!(message.contains(expected), "{message}");
    }
    let proposal = guessed(&format!(
        "# a station\n{}",
        table.replacen("\n30,", "\n# moved\n30,", 1)
    ));
    assert_says(
        &proposal,
        "2 lines with a comment skipped, the first is line 1: `# a station`",
    );
}

#[test]
fn columns_of_one_name_are_left_out() {
    let proposal = guessed(&rows("time,v,v,w", 60, |n| {
        format!("{n},{},{},{}", wave(n), n % 7, wave(2 * n))
    }));
    assert_says(&proposal, "several columns are called `v` and left out");
    assert_eq!(csv(&proposal).inputs, ["w"]);
    let hints = Hints {
        target: Some("v".into()),
        ..Hints::default()
    };
    let message =
        proposed(&rows("time,v,v", 60, |n| format!("{n},1,{n}")), &hints).expect_err("two of them");
    assert!(
        message
            .to_string()
            .contains("whose name no other column has"),
        "{message}"
    );
}

#[test]
fn blanks_divide_cells() {
    let proposal = guessed(&rows("x y", 60, |n| format!("{} {}", wave(n), wave(2 * n))));
    assert_eq!((csv(&proposal).delimiter, proposal.parts.len()), (' ', 2));
    let message = refused(&rows("x    y", 60, |n| {
        format!("{:>8}  {:>8}", wave(n), wave(2 * n))
    }));
    assert!(
        message.contains("sed 's/^ *//; s/  */,/g' table.csv > divided.csv"),
        "{message}"
    );
}

#[test]
fn findings_name_what_the_caller_can_decide() {
    let proposal = guessed(&rows("pump,day,flow", 300, |n| {
        format!("{},{},{}", n / 50, n % 50, wave(n))
    }));
    let decisions: Vec<_> = proposal
        .findings
        .iter()
        .filter_map(|finding: &DataFinding| finding.decision)
        .collect();
    assert_eq!(decisions.len(), 2, "{:?}", proposal.findings);
}
