//! Trying credentials before they are kept.

use http::Method;

use crate::auth::Access;
use crate::client::{Call, Client};
use crate::credential_file::Credential;
use crate::error::Error;
use crate::limit;
use crate::mirror::Endpoint;

/// What a registry made of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// It asked for them and accepts them.
    Accepted,
    /// It lets anyone in, so that nothing is known of them.
    NotAsked,
}

impl Client {
    /// Shows `credential` to `registry`. From then on this client uses it there. Returns what the registry made of it, and what is to
    /// be kept: an identity token where the token server gives one instead, which is good for this registry only and can be taken
    /// back.
    ///
    /// # Errors
    /// The registry does not accept it ([`Error::is_unauthorized`]) or cannot be reached.
    pub async fn check_login(
        &self,
        registry: &str,
        credential: Credential,
    ) -> Result<(Login, Credential), Error> {
        self.assume(registry, Some(credential.clone()));
        let login = self.look(registry, Access::login()).await?;
        let token = self.refresh_token(&Endpoint::upstream(registry));
        let kept = match (token, credential) {
            (
                Some(token),
                Credential::Password { username, .. } | Credential::IdentityToken { username, .. },
            ) => Credential::IdentityToken { username, token },
            (_, credential) => credential,
        };
        Ok((login, kept))
    }

    /// Asks `registry` whether it speaks the protocol and lets us in, with the credentials that are known.
    ///
    /// # Errors
    /// It does not, or cannot be reached.
    pub async fn ping(&self, registry: &str) -> Result<Login, Error> {
        self.look(registry, Access::default()).await
    }

    async fn look(&self, registry: &str, access: Access) -> Result<Login, Error> {
        let endpoint = Endpoint::upstream(registry);
        let call = Call::new(Method::GET, "/v2/".to_owned(), access, "/v2/");
        self.fetch(&endpoint, &call, limit::ERROR_BODY_BYTES_MAX).await?;
        Ok(if self.is_asked(&endpoint) { Login::Accepted } else { Login::NotAsked })
    }
}
