//! `train --tui`: refused requests, and with the feature a run under script(1), which provides a
//! terminal.

mod common;

use common::place::{OpenDevice, assert_has};

#[test]
fn it_is_refused_where_there_is_nothing_to_draw_on() {
    let place = OpenDevice::new();
    let message = match cfg!(feature = "tui") {
        true => "standard output is none",
        false => "cargo install gatescan --features tui",
    };
    assert_has(&place.train(&["--tui"]).fails(2), &[message]);
    for other in ["--json", "--quiet"] {
        assert_has(
            &place.train(&["--tui", other]).fails(2),
            &["cannot be used with", other],
        );
    }
    place.run(&["--quiet", "train", "mnist", "--tui"]).fails(2);
    assert!(!place.path("runs").exists());
}

#[cfg(all(feature = "tui", target_os = "linux"))]
#[test]
fn q_stops_and_the_terminal_is_given_back() {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use common::place::SMALL;

    let place = OpenDevice::new();
    let train = [
        &[env!("CARGO_BIN_EXE_gatescan"), "train", "mnist"],
        &SMALL[..],
        &["--epochs", "100000", "--out", "run", "--tui"],
    ];
    let line = format!(
        "stty rows 24 cols 80; {}; echo code $?; stty -a",
        train.concat().join(" ")
    );
    let mut script = Command::new("script")
        .args(["-qc", &line, "/dev/null"])
        .current_dir(place.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("util-linux has script");
    let mut shown = vec![];
    let mut stdout = script.stdout.take().unwrap();
    let mut buffer = [0; 4096];
    let mut stdin = script.stdin.take();
    loop {
        let count = stdout.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&buffer[..count]);
        // After an epoch. The drawing has words without the spaces between them, which the cursor
        // skips.
        let metrics = std::fs::metadata(place.path("run/metrics.jsonl"));
        if metrics.is_ok_and(|metrics| metrics.len() > 0)
            && String::from_utf8_lossy(&shown).contains("latest")
            && let Some(mut stdin) = stdin.as_ref()
        {
            let _ = stdin.write_all(b"q");
            let _ = stdin.flush();
        }
        if String::from_utf8_lossy(&shown).contains("code 0") {
            // Before that, script would take the end of its input as the end of the terminal's
            // input.
            stdin = None;
        }
    }
    script.wait().unwrap();
    let shown = String::from_utf8_lossy(&shown);
    let (drawn, after) = shown.split_once("\u{1b}[?1049l").expect(&shown);
    assert_has(drawn, &["\u{1b}[?1049h", "recipe", "latest", "stops"]);
    assert_has(
        after,
        &[
            "/100000  train loss",
            "continue with",
            "train --resume run",
            "code 0",
            " icanon",
        ],
    );
    assert!(!after.contains("-icanon"), "{after}");
    assert!(place.path("run/model.safetensors").is_file());
}
