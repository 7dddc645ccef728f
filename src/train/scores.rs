//! Loss and accuracy of a model on a split, and how they are written.

use std::fmt;

/// Loss and accuracy on a split. Displayed as `loss 0.1234 accuracy 0.9512 last step 2.345e-4`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    pub loss: f64,
    /// Where there are classes.
    pub accuracy: Option<f64>,
    /// Mean over the outputs at the last step of each sequence, where the head reads every step.
    pub last_step_loss: Option<f64>,
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {}", loss_text(self.loss))?;
        if let Some(accuracy) = self.accuracy {
            write!(f, " accuracy {accuracy:.4}")?;
        }
        if let Some(loss) = self.last_step_loss {
            write!(f, " last step {}", loss_text(loss))?;
        }
        Ok(())
    }
}

/// A loss with four digits; one between -0.01 and 0.01, as squared errors often are, in scientific
/// notation.
pub fn loss_text(loss: f64) -> String {
    if loss.abs() < 0.01 {
        format!("{loss:.3e}")
    } else {
        format!("{loss:.4}")
    }
}
