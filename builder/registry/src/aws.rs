//! Who asks an object store: a key from the environment, or from a profile of AWS's credentials file.

use std::path::PathBuf;

use crate::bucket_error::BucketError;
use crate::limit;
use crate::secret::Secret;

/// The profile that is meant where none is named.
const DEFAULT_PROFILE: &str = "default";

/// What the surroundings say about access to object stores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// A key that was given itself.
    pub key: Option<AwsKey>,
    /// A file with keys in sections, else.
    pub credentials_file: Option<PathBuf>,
    /// The section; `default` when absent.
    pub profile: Option<String>,
}

/// A key of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKey {
    /// Its public name.
    pub id: String,
    /// What requests are signed with.
    pub secret: Secret,
    /// What has to go along with a key that is for a while.
    pub token: Option<Secret>,
}

impl AwsSettings {
    /// Returns the key, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or has not the profile that was named.
    pub(crate) async fn find(&self) -> Result<Option<AwsKey>, BucketError> {
        if let Some(key) = &self.key {
            return Ok(Some(key.clone()));
        }
        let Some(path) = &self.credentials_file else { return Ok(None) };
        let failed = |reason: String| BucketError::Credentials { path: path.clone(), reason };
        let text = match tokio::fs::metadata(path).await {
            Ok(metadata) if metadata.len() > limit::CREDENTIALS_BYTES_MAX => {
                return Err(failed("the file is too large".to_owned()));
            }
            Ok(_) => tokio::fs::read_to_string(path).await.map_err(|error| failed(error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.profile.is_none() => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let profile = self.profile.as_deref().unwrap_or(DEFAULT_PROFILE);
        match (key_of(&text, profile), &self.profile) {
            (None, Some(profile)) => Err(failed(format!("there is no key in the profile `{profile}`"))),
            (key, _) => Ok(key),
        }
    }
}

/// Finds the key of a profile in a text of sections.
fn key_of(text: &str, profile: &str) -> Option<AwsKey> {
    let (mut is_wanted, mut id, mut secret, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_wanted = name.trim() == profile;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| is_wanted) else { continue };
        let value = value.trim().to_owned();
        match name.trim() {
            "aws_access_key_id" => id = Some(value),
            "aws_secret_access_key" => secret = Some(Secret::new(value)),
            "aws_session_token" => token = Some(Secret::new(value)),
            _ => {}
        }
    }
    Some(AwsKey { id: id?, secret: secret?, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_that_of_the_profile() {
        let text = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=s=1\n\n[ci]\n\
                    aws_access_key_id=B\naws_secret_access_key = t\naws_session_token = u\n[half]\naws_access_key_id=C\n";
        let key = |profile| {
            key_of(text, profile).map(|key| (key.id, key.secret.reveal().to_owned(), key.token.is_some()))
        };
        assert_eq!(key("default"), Some(("A".to_owned(), "s=1".to_owned(), false)));
        assert_eq!(key("ci"), Some(("B".to_owned(), "t".to_owned(), true)));
        assert_eq!((key("half"), key("none")), (None, None));
    }

    #[tokio::test]
    async fn a_profile_that_was_named_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| Some(folder.path().join(name));
        std::fs::write(folder.path().join("f"), "[default]\n").unwrap();
        let settings = |credentials_file, profile: Option<&str>| AwsSettings {
            key: None,
            credentials_file,
            profile: profile.map(str::to_owned),
        };
        assert_eq!(settings(None, None).find().await.unwrap(), None);
        assert_eq!(settings(file("none"), None).find().await.unwrap(), None);
        assert_eq!(settings(file("f"), None).find().await.unwrap(), None);
        assert!(settings(file("none"), Some("ci")).find().await.is_err());
        let said = settings(file("f"), Some("ci")).find().await.unwrap_err().to_string();
        assert!(said.ends_with("there is no key in the profile `ci`"), "{said}");
    }
}
