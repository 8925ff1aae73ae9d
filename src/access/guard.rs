//! The decision on each request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::attempts::Attempts;
use super::caller::Caller;
use super::credentials::Credentials;

/// The one user there is so far.
const ADMIN: &str = "admin";
/// Sessions at a time. When there are more, the one that would end first is ended.
pub(super) const MAX_SESSIONS: usize = 1_024;
/// How long a session lasts.
pub(super) const SESSION: Duration = Duration::from_secs(12 * 3_600);

/// What a user may do.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
}

impl Role {
    /// The name in the API and in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
        }
    }
}

/// Who a request is from.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Principal {
    pub user: String,
    pub role: Role,
}

/// Why a request is denied.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash, thiserror::Error)]
pub enum Reason {
    #[error("sign in first: HTTP Basic, or a session token as Bearer")]
    SignInRequired,
    #[error("wrong user or password")]
    WrongPassword,
    #[error("the token is not known, or its session has ended: sign in again")]
    UnknownToken,
    #[error("the Authorization header could not be read: use Basic or Bearer")]
    Malformed,
    #[error("too many failed sign-ins from this address: wait a minute")]
    TooManyAttempts,
    #[error(
        "no password is set, so that only this machine is served, by the name localhost or 127.0.0.1: set \
             access.bootstrap_admin_password to open it to others"
    )]
    NotLoopback,
    #[error(
        "a page of another site may not use this sign-in: add its origin to http.cors_origins, or use a token"
    )]
    ForeignOrigin,
    #[error("no password is set, so that there is nothing to sign in to: this machine is served as it is")]
    NoPassword,
}

impl Reason {
    /// The stable code, for problem documents and for metrics.
    pub fn code(self) -> &'static str {
        match self {
            Reason::SignInRequired => "sign_in_required",
            Reason::WrongPassword => "wrong_password",
            Reason::UnknownToken => "unknown_token",
            Reason::Malformed => "malformed_credentials",
            Reason::TooManyAttempts => "too_many_attempts",
            Reason::NotLoopback => "not_loopback",
            Reason::ForeignOrigin => "foreign_origin",
            Reason::NoPassword => "no_password",
        }
    }

    /// Whether other credentials may help (401, as opposed to 403 and 429).
    pub fn asks_for_sign_in(self) -> bool {
        matches!(
            self,
            Reason::SignInRequired | Reason::WrongPassword | Reason::UnknownToken | Reason::Malformed
        )
    }
}

/// A request that is denied.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    pub reason: Reason,
    /// With [`Reason::TooManyAttempts`]: when to try again.
    pub retry_after: Option<Duration>,
}

impl From<Reason> for Denied {
    fn from(reason: Reason) -> Denied {
        Denied { reason, retry_after: None }
    }
}

/// A session that was begun.
#[derive(Clone, Eq, PartialEq)]
pub struct Login {
    pub principal: Principal,
    /// Opaque; to be sent as Bearer, or as `?token=` of a media address.
    pub token: String,
    pub expires_in: Duration,
}

/// A listener that would serve others than this machine without a password.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0} is not a loopback address, and without a password only this machine may be served: set \
     access.bootstrap_admin_password (or GBGATE_ACCESS__BOOTSTRAP_ADMIN_PASSWORD), or listen on 127.0.0.1"
)]
pub struct NoPassword(pub IpAddr);

/// Decides who may come in.
pub struct Guard {
    /// Of the password; `None`: no sign-in, and only this machine is served.
    admin: Option<Hash>,
    /// By the hash of the token, so that neither memory nor timing gives one away.
    sessions: HashMap<Hash, Session>,
    pub(super) attempts: Attempts,
}

type Hash = [u8; 32];

struct Session {
    principal: Principal,
    ends: Instant,
}

impl Guard {
    /// `bootstrap_password` is that of `admin`; an empty one counts as none.
    pub fn new(bootstrap_password: Option<&str>) -> Guard {
        let admin = bootstrap_password.filter(|password| !password.is_empty()).map(hash);
        Guard { admin, sessions: HashMap::new(), attempts: Attempts::default() }
    }

    /// Whether an HTTP listener may be opened on an address.
    pub fn may_listen(&self, address: IpAddr) -> Result<(), NoPassword> {
        if self.admin.is_some() || address.to_canonical().is_loopback() {
            Ok(())
        } else {
            Err(NoPassword(address))
        }
    }

    /// Decides on a request.
    ///
    /// Passwords are only taken from a page of another site if that site is trusted, since browsers send them
    /// along unasked; a token is not sent unasked.
    pub fn authorise(
        &mut self,
        credentials: &Credentials,
        caller: &Caller,
        now: Instant,
    ) -> Result<Principal, Denied> {
        if self.admin.is_none() {
            return match caller {
                caller if !caller.is_loopback() || !caller.host_is_loopback => {
                    Err(Reason::NotLoopback.into())
                }
                Caller { foreign_origin: true, .. } => Err(Reason::ForeignOrigin.into()),
                _ => Ok(admin()),
            };
        }
        match credentials {
            Credentials::None => Err(Reason::SignInRequired.into()),
            Credentials::Basic { .. } if caller.foreign_origin => Err(Reason::ForeignOrigin.into()),
            Credentials::Basic { user, password } => self.check(user, password, caller, now),
            Credentials::Bearer(token) | Credentials::QueryToken(token) => {
                // Not counted as a failed sign-in: a token cannot be guessed, and a page that still polls with an
                // old one must not lock out the person who signs in beside it.
                match self.sessions.get(&hash(token)) {
                    Some(session) if session.ends > now => Ok(session.principal.clone()),
                    _ => Err(Reason::UnknownToken.into()),
                }
            }
        }
    }

    /// Begins a session. `random` must come from a cryptographic generator: it becomes the token.
    pub fn login(
        &mut self,
        user: &str,
        password: &str,
        caller: &Caller,
        random: [u8; 32],
        now: Instant,
    ) -> Result<Login, Denied> {
        let principal = self.check(user, password, caller, now)?;
        if self.sessions.len() >= MAX_SESSIONS {
            self.sessions.retain(|_, session| session.ends > now);
        }
        if self.sessions.len() >= MAX_SESSIONS {
            let first = self.sessions.iter().min_by_key(|(_, session)| session.ends).map(|(token, _)| *token);
            first.and_then(|token| self.sessions.remove(&token));
        }
        let token = URL_SAFE_NO_PAD.encode(random);
        let session = Session { principal: principal.clone(), ends: now + SESSION };
        self.sessions.insert(hash(&token), session);
        Ok(Login { principal, token, expires_in: SESSION })
    }

    /// Ends a session; false if there is none of this token.
    pub fn logout(&mut self, token: &str) -> bool {
        self.sessions.remove(&hash(token)).is_some()
    }

    /// Compares a user's password, and counts failures. While an address has to wait, the right password is
    /// denied as well: else it could go on trying.
    fn check(
        &mut self,
        user: &str,
        password: &str,
        caller: &Caller,
        now: Instant,
    ) -> Result<Principal, Denied> {
        let Some(expected) = &self.admin else { return Err(Reason::NoPassword.into()) };
        if let Some(wait) = self.attempts.blocked(caller.address, now) {
            return Err(Denied { reason: Reason::TooManyAttempts, retry_after: Some(wait) });
        }
        let right = hash(password).ct_eq(expected) & hash(user).ct_eq(&hash(ADMIN));
        if bool::from(right) {
            self.attempts.succeeded(caller.address);
            Ok(admin())
        } else {
            self.attempts.failed(caller.address, now);
            Err(Reason::WrongPassword.into())
        }
    }

    #[cfg(test)]
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

fn admin() -> Principal {
    Principal { user: ADMIN.to_owned(), role: Role::Admin }
}

/// Hashes are compared instead of what they are of: they are of one length, whatever the guess.
fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}
