//! Times in the cells of a table.

use crate::messages::excerpt;

/// Returns the times of the cells of a column.
///
/// # Errors
/// A clause on the first cell that is no time.
pub(crate) fn times_of(cells: &[&str]) -> Result<Vec<Option<f64>>, String> {
    let time = |cell: &&str| {
        if cell.is_empty() {
            return Ok(None);
        }
        cell.parse()
            .map(Some)
            .map_err(|_| format!("`{}` is no number", excerpt(cell)))
    };
    cells.iter().map(time).collect()
}
