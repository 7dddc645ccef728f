//! The predicted classes of a page: the confusion matrix, or the most frequent confusions, and the
//! worst misclassified sequences.

use std::fmt::Write;

use super::super::predictions::{ClassPredictions, Misclassified, SequencePicture};
use super::table;
use crate::html::{escape, trimmed};

/// The largest number of classes for which the confusion matrix is drawn.
const LARGEST_MATRIX: usize = 32;
/// The largest number of confusions that are listed instead.
const MOST_LISTED: usize = 30;
/// Side of a cell of the matrix in units of the drawing.
const CELL: f64 = 42.0;
/// Width of the column of recalls on the right of the matrix.
const RECALL_WIDTH: f64 = 62.0;
/// Number of letters of a class name from which the names above the columns are slanted.
const SLANTED_FROM: usize = 5;
/// Number of grey levels of a picture.
const SHADES: usize = 16;
/// The largest number of points of a picture's line.
const MOST_LINE_POINTS: usize = 200;

impl ClassPredictions {
    /// The matrix and the worst sequences as HTML; `sequences` names the sequences that were
    /// predicted.
    pub(super) fn html(&self, sequences: &str) -> String {
        let confusions = if self.names.len() <= LARGEST_MATRIX {
            format!(
                "One row for each true class, one column for each predicted class, and the recall \
                 of each class. Blue is correct, orange is wrong; the stronger the colour, the \
                 larger the share of the row.</p>\n{}",
                Matrix::new(self).svg()
            )
        } else {
            self.most_frequent_confusions()
        };
        let mut html = format!("<h2>Confusion matrix</h2>\n<p>Over {sequences}. {confusions}");
        if !self.worst.is_empty() {
            html += &self.mistakes_heading();
            html.extend(self.worst.iter().map(|each| self.misclassified(each)));
            html += "</div>\n";
        }
        html
    }

    /// The heading of the mistakes, and the beginning of their element.
    fn mistakes_heading(&self) -> String {
        let is_text = |each: &Misclassified| matches!(each.picture, Some(SequencePicture::Text(_)));
        let (what, class) = if self.worst.iter().any(is_text) {
            ("The wrong predictions of the next token", "mistakes long")
        } else if self.worst.iter().any(|each| each.step.is_some()) {
            ("The worst step of each misclassified sequence", "mistakes")
        } else {
            ("The misclassified sequences", "mistakes")
        };
        format!(
            "<h2>Worst mistakes</h2>\n<p>{what} with the largest loss: true class, predicted class \
             and its probability.</p>\n<div class=\"{class}\">\n"
        )
    }

    fn misclassified(&self, sequence: &Misclassified) -> String {
        let picture = sequence.picture.as_ref();
        format!(
            "<figure>{}<figcaption><b>{}</b> predicted as <b>{}</b><br>\
             <small>{:.1}%, no. {}{}</small></figcaption></figure>\n",
            picture.map(SequencePicture::html).unwrap_or_default(),
            escape(&self.names[sequence.class]),
            escape(&self.names[sequence.predicted]),
            sequence.probability * 100.0,
            sequence.sequence,
            (sequence.step).map_or(String::new(), |step| format!(", step {}", step + 1))
        )
    }

    /// A table of the most frequent confusions.
    fn most_frequent_confusions(&self) -> String {
        let all: u64 = self.counts.values().map(|&count| u64::from(count)).sum();
        let correct = self
            .counts
            .iter()
            .filter(|((class, predicted), _)| class == predicted);
        let correct: u64 = correct.map(|(_, &count)| u64::from(count)).sum();
        let row = |&((class, predicted), count): &((usize, usize), u32)| {
            let share = f64::from(count) / f64::from(self.recall_of(class).0.max(1)) * 100.0;
            [
                self.names[class].clone(),
                self.names[predicted].clone(),
                count.to_string(),
                format!("{share:.1}%"),
            ]
        };
        let rows: Vec<_> = self
            .confusions()
            .iter()
            .take(MOST_LISTED)
            .map(row)
            .collect();
        let heads = ["class", "predicted as", "count", "share of the class"].map(String::from);
        format!(
            "{correct} of {all} predictions are correct. There are {} classes; these are the most \
             frequent confusions.</p>\n{}",
            self.names.len(),
            table(&heads, &rows)
        )
    }
}

/// The confusion matrix as a drawing.
struct Matrix<'a> {
    classes: &'a ClassPredictions,
    /// The classes' names, shortened.
    names: Vec<String>,
    slanted: bool,
    /// Coordinates of the first cell.
    left: f64,
    top: f64,
    /// Side of all cells.
    side: f64,
}

impl Matrix<'_> {
    fn new(classes: &ClassPredictions) -> Matrix<'_> {
        let names: Vec<String> = classes.names.iter().map(|name| shortened(name)).collect();
        let longest = names.iter().map(|name| name.chars().count()).max();
        let longest = longest.unwrap_or(1);
        let slanted = longest >= SLANTED_FROM;
        Matrix {
            classes,
            slanted,
            left: 16.0 + 7.5 * longest as f64,
            top: if slanted {
                12.0 + 6.0 * longest as f64
            } else {
                24.0
            },
            side: CELL * names.len() as f64,
            names,
        }
    }

    fn svg(&self) -> String {
        let (width, height) = (self.right() + RECALL_WIDTH, self.top + self.side + 4.0);
        let mut svg = format!(
            "<div class=\"wide\"><svg class=\"matrix\" \
             style=\"max-width:{width:.0}px;min-width:{:.0}px\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
             aria-label=\"Confusion matrix\">\n<text x=\"{:.1}\" y=\"{:.1}\">recall</text>\n",
            0.75 * width,
            self.right() + 8.0,
            self.top - 8.0
        );
        let classes = 0..self.names.len();
        svg.extend(classes.clone().map(|class| self.label(class)));
        for class in classes.clone() {
            svg.extend(classes.clone().map(|predicted| self.cell(class, predicted)));
        }
        svg + "</svg></div>\n"
    }

    fn right(&self) -> f64 {
        self.left + self.side
    }

    /// The name of a class above its column and before its row, and the recall behind the row.
    fn label(&self, class: usize) -> String {
        let name = escape(&self.names[class]);
        let middle = (class as f64 + 0.5) * CELL;
        let (column, row) = (self.left + middle, self.top + middle + 4.0);
        let position = if self.slanted {
            format!(
                "text-anchor=\"start\" transform=\"translate({column:.1} {:.1}) rotate(-40)\"",
                self.top - 6.0
            )
        } else {
            format!(
                "text-anchor=\"middle\" x=\"{column:.1}\" y=\"{:.1}\"",
                self.top - 8.0
            )
        };
        let recall = match self.classes.recall_of(class) {
            (0, _) => "-".to_string(),
            (all, correct) => format!("{:.1}%", f64::from(correct) / f64::from(all) * 100.0),
        };
        format!(
            "<text {position}>{name}</text>\
             <text x=\"{:.1}\" y=\"{row:.1}\" text-anchor=\"end\">{name}</text>\
             <text x=\"{:.1}\" y=\"{row:.1}\">{recall}</text>\n",
            self.left - 7.0,
            self.right() + 8.0
        )
    }

    fn cell(&self, class: usize, predicted: usize) -> String {
        let count = self.classes.counts.get(&(class, predicted));
        let count = count.copied().unwrap_or(0);
        let (all, _) = self.classes.recall_of(class);
        let share = f64::from(count) / f64::from(all.max(1));
        // The square root makes rare mistakes visible.
        let (colour, opacity) = if count == 0 {
            ("empty", 1.0)
        } else if class == predicted {
            ("c0", 0.12 + 0.78 * share)
        } else {
            ("c1", 0.15 + 0.85 * share.sqrt())
        };
        let x = self.left + predicted as f64 * CELL;
        let y = self.top + class as f64 * CELL;
        let [name, predicted] = [class, predicted].map(|class| escape(&self.classes.names[class]));
        let mut svg = format!(
            "<rect class=\"{colour}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{0}\" height=\"{0}\" \
             fill-opacity=\"{opacity:.2}\">\
             <title>{name} predicted as {predicted}: {count}</title></rect>",
            CELL - 2.0
        );
        if count > 0 {
            let ink = if opacity > 0.55 { "inside" } else { "number" };
            svg += &format!(
                "<text class=\"{ink}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">\
                 {count}</text>",
                x + CELL / 2.0 - 1.0,
                y + CELL / 2.0 + 3.0
            );
        }
        svg + "\n"
    }
}

/// A name of at most 12 letters.
fn shortened(name: &str) -> String {
    match name.chars().count() {
        ..=12 => name.to_string(),
        _ => name.chars().take(11).chain(['…']).collect(),
    }
}

impl SequencePicture {
    pub(super) fn html(&self) -> String {
        match self {
            SequencePicture::Image { columns, values } => image(*columns, values),
            SequencePicture::Lines(lines) => line_plot(lines),
            SequencePicture::Text(text) => format!("<blockquote>{}</blockquote>", escape(text)),
        }
    }
}

/// One path for each grey level, of runs of pixels in a row.
fn image(columns: usize, values: &[f32]) -> String {
    let shade = |value: f32| ((value * (SHADES - 1) as f32).round() as usize).min(SHADES - 1);
    let mut paths = vec![String::new(); SHADES];
    for (y, row) in values.chunks(columns).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|a, b| shade(*a) == shade(*b)) {
            let _ = write!(paths[shade(run[0])], "M{x} {y}h{0}v1h-{0}z", run.len());
            x += run.len();
        }
    }
    let visible = paths.iter().enumerate().skip(1);
    let visible = visible.filter(|(_, path)| !path.is_empty());
    let paths = visible.map(|(shade, path)| {
        let opacity = trimmed(shade as f64 / (SHADES - 1) as f64);
        format!("<path d=\"{path}\" fill-opacity=\"{opacity}\"/>")
    });
    format!(
        "<svg class=\"picture\" viewBox=\"0 0 {columns} {}\">{}</svg>",
        values.len() / columns,
        paths.collect::<String>()
    )
}

/// The lines of a sequence's features over time, on a common axis.
fn line_plot(lines: &[Vec<f32>]) -> String {
    let all = || lines.iter().flatten().copied();
    let least = all().fold(f32::MAX, f32::min);
    let most = all().fold(f32::MIN, f32::max);
    let range = (most - least).max(f32::MIN_POSITIVE);
    let line = |(k, values): (usize, &Vec<f32>)| {
        let last = (values.len() - 1).max(1) as f32;
        let every = values.len().div_ceil(MOST_LINE_POINTS);
        let points = values.iter().enumerate().step_by(every);
        let points: Vec<String> = points
            .map(|(t, value)| {
                let y = 56.0 - 52.0 * (value - least) / range;
                format!("{:.1},{y:.1}", 2.0 + 96.0 * t as f32 / last)
            })
            .collect();
        format!("<polyline class=\"c{k}\" points=\"{}\"/>", points.join(" "))
    };
    let lines: String = lines.iter().enumerate().map(line).collect();
    format!("<svg class=\"picture\" viewBox=\"0 0 100 60\">{lines}</svg>")
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_whole;
    use super::*;

    fn classes(count: usize) -> ClassPredictions {
        ClassPredictions {
            names: (0..count).map(|k| format!("<{k}>")).collect(),
            counts: [((0, 0), 6), ((0, 1), 2), ((1, 1), 4)].into(),
            worst: vec![Misclassified {
                sequence: 4,
                step: None,
                class: 0,
                predicted: 1,
                probability: 0.75,
                class_probability: 0.1,
                picture: Some(SequencePicture::Image {
                    columns: 2,
                    values: vec![0.0, 1.0, 1.0, 1.0],
                }),
            }],
        }
    }

    #[test]
    fn few_classes_have_a_matrix() {
        let html = classes(3).html("all");
        assert_whole(&html);
        assert_eq!(html.matches("<rect").count(), 9);
        for part in [
            "75.0%",
            "&lt;0&gt; predicted as &lt;1&gt;: 2",
            "M1 0h1v1h-1zM0 1h2v1h-2z",
            "predicted as <b>&lt;1&gt;</b>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn sensors_are_lines_and_texts_are_text() {
        let mut two = classes(3);
        two.worst[0].picture = Some(SequencePicture::Lines(vec![vec![0.0, 1.0], vec![1.0; 2]]));
        let html = two.html("all");
        assert_whole(&html);
        assert_eq!(html.matches("<polyline class=\"c").count(), 2);
        two.worst[0].picture = Some(SequencePicture::Text("a <b>".into()));
        two.worst[0].step = Some(6);
        let html = two.html("all");
        assert_whole(&html);
        for part in [
            "<blockquote>a &lt;b&gt;</blockquote>",
            "no. 4, step 7",
            "next token",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn the_confusions_of_many_classes_are_listed() {
        let html = classes(100).html("all");
        assert_whole(&html);
        for part in ["10 of 12 predictions are correct", "<td>25.0%</td>"] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }
}
