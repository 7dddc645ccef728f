//! The splits of a proposal: a split by class if another would leave classes out.

use super::{DataFinding, Hints};
use crate::data::csv::TableTask;
use crate::data::{Dataset, SplitBy, Splits, Targets};
use crate::error::Result;
use crate::kernels::IGNORE;
use crate::messages::excerpt;
use crate::recipe::{DataRecipe, Recipe};

/// The most classes that a sentence names.
const MOST_NAMED: usize = 10;

/// Loads the data of a recipe. If a class is in only one split, rows are divided by class, with
/// shorter windows if those of the recipe do not fit; what is left is added to `findings`.
pub(super) fn load(
    recipe: &mut Recipe,
    hints: &Hints,
    findings: &mut Vec<DataFinding>,
) -> Result<Splits> {
    let loaded = recipe.data.load(recipe.seed);
    let is_whole = matches!(&recipe.data, DataRecipe::Csv(csv) if csv.steps.is_none());
    let is_classification = matches!(&recipe.data, DataRecipe::Csv(csv)
        if csv.task == TableTask::Classification && csv.test_path.is_none()
            && csv.test_fraction > 0.0);
    if !is_classification {
        let splits = loaded?;
        findings.extend(SplitClasses::of(&splits).sentence());
        return Ok(splits);
    }
    let classes = loaded.as_ref().ok().map(SplitClasses::of);
    if classes.as_ref().is_some_and(SplitClasses::are_equal) {
        return loaded;
    }
    let Some((data, splits)) = load_by_class(recipe, hints, classes.as_ref()) else {
        let splits = loaded?;
        findings.extend(SplitClasses::of(&splits).sentence());
        return Ok(splits);
    };
    recipe.data = data;
    let reason = match loaded {
        Ok(_) => classes
            .and_then(|classes| classes.sentence())
            .map(|finding| finding.text),
        Err(error) => Some(error.to_string()),
    };
    let part = if is_whole {
        "a random share of each class is"
    } else {
        "the last rows of each run of rows of one class are"
    };
    findings.extend(reason.map(|reason| {
        let text = format!("the split is by class: {part} the test split, because else {reason}");
        DataFinding::new(text)
    }));
    findings.extend(SplitClasses::of(&splits).sentence());
    Ok(splits)
}

/// Returns the data divided by class, if both splits then lack fewer classes than `before`. Windows
/// are halved until the test split has a share of all of them.
fn load_by_class(
    recipe: &Recipe,
    hints: &Hints,
    before: Option<&SplitClasses>,
) -> Option<(DataRecipe, Splits)> {
    let DataRecipe::Csv(csv) = &recipe.data else {
        return None;
    };
    let mut best: Option<(ClassSplitScore, DataRecipe, Splits)> = None;
    let least = before.map_or(usize::MAX, SplitClasses::lacking);
    let mut steps = csv.steps;
    loop {
        let mut tried = csv.clone();
        tried.split_by = SplitBy::Class;
        tried.steps = steps;
        let data = DataRecipe::Csv(tried);
        if let Ok(splits) = data.load(recipe.seed) {
            let score = ClassSplitScore::of(&splits);
            if score.lacking < least && best.as_ref().is_none_or(|(best, _, _)| score < *best) {
                best = Some((score, data, splits));
            }
            if score == ClassSplitScore::BEST {
                break;
            }
        }
        match steps {
            Some(long) if long > 3 && hints.steps.is_none() => steps = Some(long / 2),
            _ => break,
        }
    }
    best.map(|(_, data, splits)| (data, splits))
}

/// How good a split is; the lower, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ClassSplitScore {
    /// Classes that are in one split only.
    lacking: usize,
    /// Percent of the sequences that the test split lacks to a tenth.
    too_few: usize,
}

impl ClassSplitScore {
    const BEST: ClassSplitScore = ClassSplitScore {
        lacking: 0,
        too_few: 0,
    };

    fn of(splits: &Splits) -> ClassSplitScore {
        let test = splits.test.as_ref().map_or(0, |test| test.count);
        let percent = 100 * test / (splits.train.count + test).max(1);
        ClassSplitScore {
            lacking: SplitClasses::of(splits).lacking(),
            too_few: 10_usize.saturating_sub(percent),
        }
    }
}

/// The classes that occur in each split.
struct SplitClasses {
    names: Vec<String>,
    /// `[K]`
    in_train: Vec<bool>,
    /// `[K]`; `None` without a test split.
    in_test: Option<Vec<bool>>,
}

impl SplitClasses {
    fn of(splits: &Splits) -> SplitClasses {
        let in_train = classes_in(&splits.train);
        SplitClasses {
            names: (0..in_train.len())
                .map(|class| splits.preparation.class(class))
                .collect(),
            in_test: splits.test.as_ref().map(|test| classes_in(test)),
            in_train,
        }
    }

    fn are_equal(&self) -> bool {
        self.lacking() == 0
    }

    /// Returns the number of classes that are in one split only.
    fn lacking(&self) -> usize {
        self.only_in_one()
            .map_or(0, |(train, test)| train.len() + test.len())
    }

    /// Returns the classes of the training split alone, and of the test split alone.
    fn only_in_one(&self) -> Option<(Vec<&str>, Vec<&str>)> {
        let in_test = self.in_test.as_ref()?;
        let only = |of_train: bool| {
            let classes = self.names.iter().zip(self.in_train.iter().zip(in_test));
            let only =
                classes.filter(move |(_, (train, test))| **train == of_train && **test != of_train);
            only.map(|(name, _)| name.as_str()).collect()
        };
        Some((only(true), only(false)))
    }

    /// Returns a sentence on classes that a split lacks.
    fn sentence(&self) -> Option<DataFinding> {
        let (train, test) = self.only_in_one()?;
        let clauses: Vec<String> = [("test", train), ("training", test)]
            .into_iter()
            .filter(|(_, classes)| !classes.is_empty())
            .map(|(split, classes)| format!("the {split} split has no {}", named(&classes)))
            .collect();
        (!clauses.is_empty()).then(|| DataFinding::new(clauses.join(", and ")))
    }
}

fn named(classes: &[&str]) -> String {
    let names: Vec<String> = classes
        .iter()
        .take(MOST_NAMED)
        .map(|class| format!("`{}`", excerpt(class)))
        .collect();
    match classes.len().saturating_sub(MOST_NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more classes", names.join(", ")),
    }
}

/// Returns which classes occur in a split; nothing for values.
fn classes_in(data: &Dataset) -> Vec<bool> {
    let Targets::Classes {
        labels, classes, ..
    } = &data.targets
    else {
        return vec![];
    };
    let mut occurs = vec![false; *classes];
    for &label in labels.iter().filter(|&&label| label != IGNORE) {
        if let Some(occurs) = occurs.get_mut(label as usize) {
            *occurs = true;
        }
    }
    occurs
}
