//! What a request brings to prove who sent it.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::guard::Reason;

/// The longest header or token that is looked at, in bytes.
const MAX_LENGTH: usize = 1_024;

/// RFC 4648 4, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request brings. `Debug` shows no password and no token.
#[derive(Clone, Default, Eq, PartialEq)]
pub enum Credentials {
    #[default]
    None,
    /// RFC 7617.
    Basic { user: String, password: String },
    /// RFC 6750, in the header.
    Bearer(String),
    /// `?token=` of a media address, for players that cannot send a header.
    QueryToken(String),
}

impl Credentials {
    /// From the Authorization header and the `token` of the query (already percent-decoded), as far as the
    /// request has them. The header counts before the query.
    ///
    /// Fails with [`Reason::Malformed`] on a header of another scheme, or one that is broken or too long.
    pub fn parse(authorization: Option<&str>, query_token: Option<&str>) -> Result<Credentials, Reason> {
        if let Some(header) = authorization {
            return Credentials::from_header(header);
        }
        match query_token {
            Some(token) if token.len() > MAX_LENGTH => Err(Reason::Malformed),
            Some(token) if !token.is_empty() => Ok(Credentials::QueryToken(token.to_owned())),
            _ => Ok(Credentials::None),
        }
    }

    fn from_header(header: &str) -> Result<Credentials, Reason> {
        if header.len() > MAX_LENGTH {
            return Err(Reason::Malformed);
        }
        let (scheme, rest) = header.trim().split_once(' ').ok_or(Reason::Malformed)?;
        let rest = rest.trim();
        if rest.is_empty() {
            return Err(Reason::Malformed);
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Credentials::Bearer(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Reason::Malformed);
        }
        let decoded = BASE64.decode(rest).map_err(|_| Reason::Malformed)?;
        let pair = String::from_utf8(decoded).map_err(|_| Reason::Malformed)?;
        // RFC 7617 2: no control characters; the user has no colon, the password may.
        match pair.split_once(':') {
            Some((user, password)) if !pair.chars().any(char::is_control) => {
                Ok(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
            }
            _ => Err(Reason::Malformed),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Basic { .. } => "Basic(***)",
            Credentials::Bearer(_) => "Bearer(***)",
            Credentials::QueryToken(_) => "QueryToken(***)",
        })
    }
}
