//! A recipe for a file of the visitor, as `gatescan init` proposes it.

use std::path::Path;

use gatescan::recipe::propose::{DataFinding, GroupHint, Hints, Proposal, propose};
use gatescan::{Decision, Error, Recipe};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the visitor says of the columns; an empty text is a guess.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ColumnHints {
    target: String,
    group: String,
    /// Whether all rows are one series.
    no_group: bool,
    time: String,
}

impl ColumnHints {
    fn hints(&self) -> Hints {
        let given = |text: &String| Some(text.trim().to_string()).filter(|text| !text.is_empty());
        Hints {
            target: given(&self.target),
            group: match given(&self.group) {
                _ if self.no_group => GroupHint::None,
                Some(column) => GroupHint::Column(column),
                None => GroupHint::Guess,
            },
            time: given(&self.time),
            ..Hints::default()
        }
    }
}

/// Returns the recipe with what was found; for prose, that of a language model.
///
/// # Errors
/// The sentence of the command line.
pub fn proposal(path: &Path, hints: &ColumnHints) -> Result<Value, String> {
    match propose(path, &hints.hints()) {
        Ok(proposal) => described(&proposal).map_err(|error| error.to_string()),
        Err(Error::Undecided {
            decision: Decision::TextRecipe,
            ..
        }) => text_recipe(path).map_err(|error| error.to_string()),
        Err(Error::Undecided {
            path,
            problem,
            decision,
        }) => Err(format!(
            "{}: {problem}; {}",
            path.display(),
            decide(decision)
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn described(proposal: &Proposal) -> Result<Value, Error> {
    let said = |finding: &DataFinding| match finding.decision {
        Some(decision) => format!("{} (if not: {})", finding.text, decide(decision)),
        None => finding.text.clone(),
    };
    let findings = proposal.findings.iter().map(said);
    let findings = findings.chain(proposal.splits.notes.iter().cloned());
    let parts = proposal.parts.iter().map(|part| {
        [
            part.name.clone(),
            part.contents.clone(),
            part.missing.to_string(),
            part.role.to_string(),
        ]
    });
    Ok(json!({
        "summary": proposal.summary,
        "task": proposal.task,
        "findings": findings.collect::<Vec<_>>(),
        "parts": parts.collect::<Vec<_>>(),
        "recipe": proposal.to_toml()?,
    }))
}

/// The built-in recipe of a language model, for the text at a path.
fn text_recipe(path: &Path) -> Result<Value, Error> {
    let mut recipe = Recipe::load("text")?;
    recipe.data.set_path(path.to_path_buf());
    Ok(json!({
        "summary": "a text",
        "task": "Predicts the next character of a text",
        "findings": [
            "the lines are sentences without numbers: the built-in recipe `text` learns a language \
             model of them, character by character",
        ],
        "parts": [],
        "recipe": recipe.to_toml()?,
    }))
}

/// The remedy for a decision about the data.
fn decide(decision: Decision) -> &'static str {
    match decision {
        Decision::Target => "name the target column in the field Target",
        Decision::Group => {
            "name the column that tells series apart in the field Series, or say that all rows are \
             one series"
        }
        Decision::Time => "name the column of times in the field Time",
        _ => "write a recipe by hand: see Recipe keys in the documentation",
    }
}
