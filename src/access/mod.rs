//! Who may do what: sign-in and sessions.
//!
//! [`Guard`] decides on each request, from what it brings ([`Credentials`]) and from where it comes
//! ([`Caller`]). There is one user so far, `admin`, whose password is configured. Where none is, only this
//! machine is served: a loopback peer that asked for a loopback host, so that no page of the web gets in by a
//! name that resolves to 127.0.0.1.
//!
//! This room is pure: it is told the time and given its random bytes.

mod attempts;
mod caller;
mod credentials;
mod guard;
#[cfg(test)]
mod tests;

pub use caller::{Caller, host_is_loopback};
pub use credentials::Credentials;
pub use guard::{Denied, Guard, Login, NoPassword, Principal, Reason, Role};
