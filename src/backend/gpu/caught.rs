//! Error scopes.

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
