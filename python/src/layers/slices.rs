//! Slices of memory that Python owns: of tensors, whose addresses `gatescan.torch` passes.

use gatescan::layers::LayerElement;
use pyo3::prelude::*;

/// The address and the number of elements of a dense array.
///
/// `gatescan.torch` takes both from one contiguous tensor of the pass's element type, which lives
/// until the call returns.
#[derive(Debug, Clone, Copy, FromPyObject)]
pub struct Address(usize, usize);

impl Address {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.1
    }

    /// Returns the elements.
    pub fn values<R: LayerElement>(&self) -> &[R] {
        if self.1 == 0 {
            return &[];
        }
        // SAFETY: see the type; nobody writes the tensor during the call.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.0 as *const R, self.1)
        }
    }

    /// Returns the elements of a tensor that the caller has just made.
    pub fn values_mut<R: LayerElement>(&mut self) -> &mut [R] {
        if self.1 == 0 {
            return &mut [];
        }
        // SAFETY: see the type; the tensor is new, so nobody else reads or writes it.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.0 as *mut R, self.1)
        }
    }
}
