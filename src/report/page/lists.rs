//! The predicted lists of labels of a page: the sequences with the most errors.

use super::super::predictions::{ListPredictions, PredictedList, SequencePicture};
use crate::html::escape;

impl ListPredictions {
    /// The sequences with the most errors as HTML; empty if there is no error.
    pub(super) fn html(&self) -> String {
        if self.worst.is_empty() {
            return String::new();
        }
        let mut html = String::from(
            "<h2>Worst mistakes</h2>\n<p>The sequences with the most errors: the true labels, and \
             those of the likeliest class at each step.</p>\n<div class=\"mistakes long\">\n",
        );
        html.extend(self.worst.iter().map(PredictedList::html));
        html + "</div>\n"
    }
}

impl PredictedList {
    fn html(&self) -> String {
        let labels = |labels: &[String]| escape(&labels.join(" "));
        let picture = self.picture.as_ref();
        format!(
            "<figure>{}<figcaption><b>{}</b> predicted as <b>{}</b><br><small>{} errors, no. \
             {}</small></figcaption></figure>\n",
            picture.map(SequencePicture::html).unwrap_or_default(),
            labels(&self.truth),
            labels(&self.predicted),
            self.errors,
            self.sequence,
        )
    }
}
