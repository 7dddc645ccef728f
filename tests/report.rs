//! The pages that training writes, and `gatescan report`.

mod common;

use std::fs;
use std::path::Path;

use common::place::{Workspace, assert_has};

/// Reads a page and checks that it refers to no other file.
fn page(path: &Path) -> String {
    let html = fs::read_to_string(path).unwrap();
    for part in [
        "<script", "http:", "https:", "src=", "href=", "@import", "url(", "NaN",
    ] {
        assert!(!html.contains(part), "`{part}` in {html}");
    }
    html
}

/// Number of curves below a heading.
fn curves(html: &str, heading: &str) -> usize {
    let part = html.split("<h2>").find(|part| part.starts_with(heading));
    let part = part.unwrap_or_else(|| panic!("no {heading} in {html}"));
    part.matches("<polyline").count()
}

#[test]
fn training_a_classifier_writes_a_page() {
    let place = Workspace::new();
    // One epoch with a low learning rate leaves mistakes.
    let rate = "optimizer.lr=0.0005";
    let flags = ["--epochs", "1", "--out", "run", "--set", rate];
    let stdout = place.train(&flags).ok();
    assert!(!stdout.contains("report.html"), "{stdout}");
    let html = page(&place.path("run/report.html"));
    // Loss and accuracy of two splits, balanced accuracy and F1 of one, and the throughput.
    assert_eq!(curves(&html, "Curves"), 7);
    assert_has(
        &html,
        &[
            "<h1>run</h1>",
            "test accuracy",
            "all 50 sequences of the test split",
            "aria-label=\"Confusion matrix\"",
            "Worst mistakes",
            "class=\"picture\" viewBox=\"0 0 8 8\"",
            "the most frequent class alone has accuracy",
            "hidden_size = 16",
            "threads",
            "prefers-color-scheme: dark",
        ],
    );
    // 3 x 3 pairs of classes.
    assert_eq!(html.matches("<rect").count(), 9);

    // The page of a resumed run has all epochs.
    place
        .run(&[
            "train", "--resume", "run", "--device", "cpu", "--epochs", "3",
        ])
        .ok();
    let html = page(&place.path("run/report.html"));
    assert_has(&html, &["3 of 3", "<title>train: ", "at epoch 3</title>"]);

    // `report` writes the same page from the same files.
    let flags = ["report", "run", "-o", "again.html", "--device", "cpu"];
    assert_eq!(place.run(&flags).ok(), "");
    assert!(page(&place.path("again.html")) == html);

    // Without its data the page has no predictions.
    fs::rename(place.path("data"), place.path("moved")).unwrap();
    let run = place.run(&["report", "run", "--device", "cpu"]);
    assert_has(&run.stderr, &["the page has no predictions"]);
    run.ok();
    let html = page(&place.path("run/report.html"));
    assert_eq!(curves(&html, "Curves"), 7);
    assert_has(&html, &["Not available"]);
    let flags = ["report", "run", "--data", "moved", "--device", "cpu"];
    place.run(&flags).ok();
    assert_has(&page(&place.path("run/report.html")), &["Confusion matrix"]);
}

#[test]
fn training_on_a_series_writes_a_page() {
    let place = Workspace::new();
    let values: Vec<String> = (0..300)
        .map(|n| format!("{}", (0.3 * f64::from(n)).sin() * 5.0))
        .collect();
    fs::write(place.path("waves.txt"), values.join("\n")).unwrap();
    let train = |out: &str, more: &[&str]| {
        let small = [
            "train",
            "series",
            "--device",
            "cpu",
            "--data",
            "waves.txt",
            "--epochs",
            "2",
            "--hidden-size",
            "8",
            "--out",
            out,
        ];
        place.run(&[&small[..], more].concat()).ok()
    };
    train("run", &[]);
    let html = page(&place.path("run/report.html"));
    // Targets and predictions in time, drawn for wide and narrow pages, and at the steps of two
    // windows.
    assert_eq!(curves(&html, "Predictions and targets"), 2 * 2 + 2 * 2);
    assert_eq!(curves(&html, "Continuation"), 2 * 2);
    assert_has(&html, &["in time", "linear regression", "last value"]);

    train("alone", &["--set", "data.test_fraction=0.0"]);
    let html = page(&place.path("alone/report.html"));
    // Loss, loss at last steps and throughput, of the training split only.
    assert_eq!(curves(&html, "Curves"), 3);
    assert_has(&html, &["sequences of the train split"]);
}

#[test]
fn a_page_that_cannot_be_written_does_not_fail_the_run() {
    let place = Workspace::new();
    fs::create_dir_all(place.path("run/report.html")).unwrap();
    let run = place.train(&["--epochs", "1", "--out", "run"]);
    let problem = "the run is saved, but without its report";
    assert_has(&run.stderr, &["report.html: cannot be written", problem]);
    run.ok();
    assert!(place.path("run/model.safetensors").is_file());
}

#[test]
fn runs_are_drawn_on_the_same_axes() {
    let place = Workspace::new();
    place.train(&["--epochs", "2", "--out", "a&b"]).ok();
    place
        .train(&["--epochs", "3", "--cell", "gru", "--out", "c"])
        .ok();
    let files = ["-o", "both.html", "--svg", "both.svg"];
    place
        .run(&[&["report", "a&b", "c"], &files[..]].concat())
        .ok();
    let html = page(&place.path("both.html"));
    // Each chart is drawn for wide and narrow pages.
    assert_eq!(curves(&html, "Curves"), 2 * 2 * 7);
    assert_has(
        &html,
        &[
            "<td class=\"text\">network.layer.0.cell</td><td>lstm</td><td>gru</td>",
            "<td class=\"text\">epochs</td><td>2</td><td>3</td>",
            "a&amp;b, test",
        ],
    );
    assert!(!html.contains("a&b") && !html.contains("hidden_size"));
    let svg = fs::read_to_string(place.path("both.svg")).unwrap();
    assert_has(&svg, &["<svg", "accuracy", "a&amp;b, test", "c, train"]);

    // With only --svg no page is written.
    let before = fs::read(place.path("c/report.html")).unwrap();
    place.run(&["report", "c", "--svg", "c.svg"]).ok();
    assert!(place.path("c.svg").is_file());
    assert!(fs::read(place.path("c/report.html")).unwrap() == before);
}

#[test]
fn wrong_requests_for_a_report_are_explained() {
    let place = Workspace::new();
    place.run(&["report"]).fails(2);
    let message = place.run(&["report", "nowhere"]).fails(1);
    assert_has(&message, &["nowhere: there is no run here"]);
    place.train(&["--epochs", "1", "--out", "run"]).ok();
    let message = place
        .run(&["report", "run", "run", "--data", "data"])
        .fails(2);
    assert_has(&message, &["--data", "a single run"]);
    let flags = ["report", "run", "--device", "cpu", "-o", "no/where.html"];
    assert_has(
        &place.run(&flags).fails(1),
        &["no/where.html", "cannot be written"],
    );
    // A crash may leave half a line.
    let metrics = place.path("run/metrics.jsonl");
    fs::write(&metrics, "{\"epoch\":1,").unwrap();
    place.run(&["report", "run", "--device", "cpu"]).ok();
    assert_has(
        &page(&place.path("run/report.html")),
        &["No epoch is complete yet"],
    );
    let message = place.run(&["report", "run", "--svg", "a.svg"]).fails(1);
    assert_has(&message, &["no epoch of these runs"]);
}
