//! The library as a WebAssembly module, in a worker of the page of `gatescan web`: it proposes a
//! recipe for a file of the visitor, records its run as the command line does, and plays it on the
//! CPU where there is no GPU.
//!
//! The page puts a request into memory and gets an answer, both of a length of JSON in 4 bytes,
//! little-endian, the JSON, and bytes. [`requests`] lists them.

mod proposal;
mod requests;

use std::cell::RefCell;
use std::panic;
use std::sync::{Mutex, PoisonError};

use requests::{Session, answer_to};

/// What the page has written or will read.
#[derive(Default)]
struct Mailbox {
    bytes: Vec<u8>,
    session: Session,
}

thread_local! {
    static MAILBOX: RefCell<Mailbox> = RefCell::default();
}

/// The message of a panic, after which the module is not used again.
static PANIC: Mutex<Vec<u8>> = Mutex::new(vec![]);

/// Makes room for a request of `length` bytes, and returns where the page writes it.
#[expect(
    unsafe_code,
    reason = "a page finds functions of a module by their names"
)]
#[unsafe(no_mangle)]
pub extern "C" fn request(length: usize) -> *mut u8 {
    panic::set_hook(Box::new(|panic| {
        let mut message = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        *message = panic.to_string().into_bytes();
    }));
    MAILBOX.with_borrow_mut(|mailbox| {
        mailbox.bytes = vec![0; length];
        mailbox.bytes.as_mut_ptr()
    })
}

/// Handles the request, and returns the length of the answer.
#[expect(
    unsafe_code,
    reason = "a page finds functions of a module by their names"
)]
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> usize {
    MAILBOX.with_borrow_mut(|mailbox| {
        let request = std::mem::take(&mut mailbox.bytes);
        mailbox.bytes = answer_to(&request, &mut mailbox.session);
        mailbox.bytes.len()
    })
}

/// Where the answer is.
#[expect(
    unsafe_code,
    reason = "a page finds functions of a module by their names"
)]
#[unsafe(no_mangle)]
pub extern "C" fn answered() -> *const u8 {
    MAILBOX.with_borrow(|mailbox| mailbox.bytes.as_ptr())
}

/// The length of the message of a panic; 0 without one.
#[expect(
    unsafe_code,
    reason = "a page finds functions of a module by their names"
)]
#[unsafe(no_mangle)]
pub extern "C" fn panic_length() -> usize {
    PANIC.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Where the message of a panic is.
#[expect(
    unsafe_code,
    reason = "a page finds functions of a module by their names"
)]
#[unsafe(no_mangle)]
pub extern "C" fn panic_message() -> *const u8 {
    let message = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
    message.as_ptr()
}
