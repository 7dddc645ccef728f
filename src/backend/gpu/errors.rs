//! Errors of wgpu, which it reports to error scopes and callbacks instead of returning them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// The error that wgpu has reported for a device, if any. Later errors follow from the first, and
/// all follow from the loss of the device; so a loss replaces any other error, and nothing else
/// does.
#[derive(Debug, Clone, Default)]
pub(super) struct ReportedErrors(Arc<Mutex<Option<ReportedError>>>);

#[derive(Debug, Clone)]
enum ReportedError {
    Lost { reason: String },
    OutOfMemory,
    Invalid { description: String },
    Internal { description: String },
}

impl ReportedErrors {
    /// Records the errors of `device` from now on.
    pub(super) fn of(device: &wgpu::Device) -> ReportedErrors {
        let reported = ReportedErrors::default();
        let uncaptured = reported.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            uncaptured.record(error.into());
        }));
        let lost = reported.clone();
        device.set_device_lost_callback(move |reason, message| {
            let reason = loss_reason(reason, &message);
            lost.record(ReportedError::Lost { reason });
        });
        reported
    }

    fn record(&self, error: ReportedError) {
        let is_loss = |error: &ReportedError| matches!(error, ReportedError::Lost { .. });
        let mut recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recorded
            .as_ref()
            .is_none_or(|before| is_loss(&error) && !is_loss(before))
        {
            *recorded = Some(error);
        }
    }

    /// Fails with the recorded error, if any; `device` is the device's name.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`], [`Error::Driver`] or [`Error::Defect`].
    pub(super) fn check(&self, device: &str) -> Result<()> {
        let recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*recorded {
            None => Ok(()),
            Some(error) => Err(error.clone().into_error(device)),
        }
    }
}

impl ReportedError {
    fn into_error(self, device: &str) -> Error {
        let device = device.to_string();
        match self {
            ReportedError::Lost { reason } => Error::DeviceLost { device, reason },
            ReportedError::OutOfMemory => Error::OutOfMemory {
                device,
                available: None,
                needed: None,
                purpose: "the driver failed to allocate memory during a run".into(),
                remedy: "reduce the batch size or the hidden size",
            },
            ReportedError::Invalid {
                description: problem,
            } => Error::Defect { device, problem },
            ReportedError::Internal { description } => Error::Driver {
                device,
                problem: format!("the driver failed: {description}"),
            },
        }
    }
}

impl From<wgpu::Error> for ReportedError {
    fn from(error: wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { .. } => ReportedError::OutOfMemory,
            wgpu::Error::Validation { description, .. } => ReportedError::Invalid { description },
            wgpu::Error::Internal { description, .. } => ReportedError::Internal { description },
        }
    }
}

/// The error for what wgpu reported while it created objects on `device`.
pub(super) fn creation_error(error: wgpu::Error, device: &str) -> Error {
    ReportedError::from(error).into_error(device)
}

/// Runs `create` and returns its result with the first error that wgpu reported on this thread.
pub(super) fn caught<T>(
    device: &wgpu::Device,
    create: impl FnOnce() -> T,
) -> (T, Option<wgpu::Error>) {
    let scopes = [
        wgpu::ErrorFilter::OutOfMemory,
        wgpu::ErrorFilter::Internal,
        wgpu::ErrorFilter::Validation,
    ]
    .map(|filter| device.push_error_scope(filter));
    let created = create();
    // wgpu requires that scopes end innermost first. The outermost error wins: after an allocation
    // has failed, the use of what it should have allocated is a validation error.
    let errors = scopes
        .into_iter()
        .rev()
        .map(|scope| pollster::block_on(scope.pop()));
    (created, errors.fold(None, |inner, outer| outer.or(inner)))
}

fn loss_reason(reason: wgpu::DeviceLostReason, message: &str) -> String {
    match (reason, message.trim()) {
        (wgpu::DeviceLostReason::Destroyed, _) => "it was destroyed".into(),
        (_, "") => "the driver gives no reason (a crash, an update or a time limit?)".into(),
        // wgpu gives up a device that runs out of memory.
        (_, message) if message.to_lowercase().contains("out of memory") => {
            "it ran out of memory; reduce the batch size or the hidden size".into()
        }
        (_, message) => message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_after(reports: &[ReportedError]) -> Error {
        let reported = ReportedErrors::default();
        assert!(reported.check("GPU").is_ok());
        reports
            .iter()
            .for_each(|error| reported.record(error.clone()));
        reported.check("GPU").unwrap_err()
    }

    #[test]
    fn the_first_error_is_kept_unless_the_device_is_lost() {
        let lost = |reason: &str| ReportedError::Lost {
            reason: reason.into(),
        };
        let invalid = ReportedError::Invalid {
            description: "a buffer is too small".into(),
        };
        let error = error_after(&[ReportedError::OutOfMemory, invalid.clone()]);
        assert!(matches!(error, Error::OutOfMemory { needed: None, .. }));
        assert!(error.to_string().contains("too little memory"), "{error}");
        let error = error_after(&[invalid, lost("first"), lost("second")]);
        assert!(matches!(error, Error::DeviceLost { reason, .. } if reason == "first"));
    }

    #[test]
    fn a_validation_error_is_a_defect_of_gatescan() {
        let error = error_after(&[ReportedError::Invalid {
            description: "a buffer is too small".into(),
        }]);
        let message = error.to_string();
        assert!(message.contains("defect in gatescan"), "{message}");
        assert!(message.contains("a buffer is too small"), "{message}");
    }

    #[test]
    fn a_loss_names_its_reason() {
        let reason = |message| loss_reason(wgpu::DeviceLostReason::Unknown, message);
        assert!(reason("Out of Memory").contains("batch size"));
        assert!(reason("").contains("no reason"));
        assert_eq!(reason(" watchdog\n"), "watchdog");
    }
}
