use std::fs;

use super::*;

#[test]
fn names_of_recipes_are_valid() {
    for (path, expected) in [
        ("data/levels.csv", "levels"),
        ("sun spots.tsv", "sun-spots"),
        ("..csv", "data"),
        ("/", "data"),
    ] {
        assert_eq!(recipe_name(Path::new(path)), expected);
    }
}

#[test]
fn a_series_is_forecast_from_windows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wave.txt");
    let lines: String = (0..200)
        .map(|n| format!("{}\n", (n as f64 * 0.4).sin()))
        .collect();
    fs::write(&path, lines).unwrap();
    let hints = Hints {
        steps: Some(12),
        ..Hints::default()
    };
    let proposal = propose(&path, &hints).unwrap();
    assert_eq!(proposal.recipe.name, "wave");
    assert_eq!(proposal.splits.train.steps, 12);
    assert_eq!(proposal.parts[0].role, Role::InputAndTarget);
    let text = proposal.to_toml().unwrap();
    assert_eq!(Recipe::parse(&text, "wave.toml").unwrap(), proposal.recipe);
}

#[test]
#[cfg(feature = "tables")]
fn a_table_with_groups_and_names_is_classified() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("machines.csv");
    let row = |n: usize| {
        let trend = if (n / 8).is_multiple_of(2) {
            "up"
        } else {
            "down"
        };
        format!("{n},m{},{},{trend}\n", n / 8, n % 8)
    };
    let rows: String = (0..80).map(row).collect();
    fs::write(&path, format!("index,machine,value,trend\n{rows}")).unwrap();
    let proposal = propose(&path, &Hints::default()).unwrap();
    let roles: Vec<Role> = proposal.parts.iter().map(|part| part.role).collect();
    let counts = Role::LeftOut("it only counts up");
    assert_eq!(roles, [counts, Role::Group, Role::Input, Role::Class]);
    assert_eq!(proposal.task, "a classification by trend, of whole groups");

    let hints = Hints {
        target: Some("speed".into()),
        ..Hints::default()
    };
    let message = propose(&path, &hints).unwrap_err().to_string();
    let expected = "target is speed; it must be one of the columns index, machine, value, trend";
    assert_eq!(message, expected);
}
