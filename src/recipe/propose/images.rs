//! Proposals for IDX files.

use std::path::Path;

use super::{DataPart, ProposedData, Role};
use crate::data::idx::Idx;
use crate::data::{DataSource, Dataset, Targets};
use crate::error::Result;
use crate::network::{Loss, Reads};
use crate::recipe::DataRecipe;

/// Proposes to classify the images of a directory.
pub(super) fn propose(path: &Path) -> Result<ProposedData> {
    let mut idx = Idx::new(path, 256);
    let splits = idx.load(0, None)?;
    let test_classes = splits.test.as_deref().map_or(0, classes);
    idx.classes = classes(&splits.train).max(test_classes).max(2);
    let Dataset {
        count,
        steps,
        features,
        ..
    } = *splits.train;
    let part = |name: &str, contents, role| DataPart {
        name: name.into(),
        contents,
        missing: 0,
        role,
    };
    let images = format!("{steps} rows of {features} bytes, a row at each step");
    let labels = format!("{} classes", idx.classes);
    Ok(ProposedData {
        summary: format!("IDX files, {count} images to train on"),
        parts: vec![
            part("images", images, Role::Input),
            part("labels", labels, Role::Class),
        ],
        task: format!("a classification into {} classes", idx.classes),
        findings: vec![],
        data: DataRecipe::Idx(idx),
        reads: Reads::Last,
        loss: Loss::CrossEntropy,
    })
}

/// Returns one more than the largest label.
fn classes(data: &Dataset) -> usize {
    match &data.targets {
        Targets::Classes { labels, .. } => labels.iter().copied().max().unwrap_or(0) as usize + 1,
        Targets::Values { .. } | Targets::Lists { .. } | Targets::Heads(_) => 0,
    }
}
