//! Which bucket is meant, and where its server is.

use reqwest::Url;
use rusty_s3::UrlStyle;
use serde::{Deserialize, Serialize};

use crate::bucket_error::BucketError;

/// A bucket of an object store that speaks S3.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The region it lies in, which every signature names.
    pub region: String,
    /// Address of the server; AWS's own for the region when absent.
    pub endpoint: Option<String>,
    /// Whether the name stands in the path, and not before the host.
    pub is_path_style: bool,
}

/// An object that was begun, to come in parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BegunUpload {
    /// The bucket.
    pub(crate) bucket: Bucket,
    /// The key of the object.
    pub(crate) key: String,
    /// The server's name for the upload.
    pub(crate) id: String,
}

impl Bucket {
    /// Returns the bucket as requests are made for it, and the host of its server.
    ///
    /// # Errors
    /// The endpoint or the name cannot be used.
    pub(crate) fn address(&self) -> Result<(rusty_s3::Bucket, String), BucketError> {
        let refused =
            |reason: &str| BucketError::Address { name: self.name.clone(), reason: reason.to_owned() };
        let text = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => {
                let suffix = if self.region.starts_with("cn-") { ".cn" } else { "" };
                format!("https://s3.{}.amazonaws.com{suffix}", self.region)
            }
        };
        let endpoint = Url::parse(&text).map_err(|_| refused("the address of its server is malformed"))?;
        if !matches!(endpoint.scheme(), "http" | "https") || !endpoint.has_host() {
            return Err(refused("the address of its server begins with neither https:// nor http://"));
        }
        let is_plain = endpoint.username().is_empty() && endpoint.password().is_none();
        if !is_plain || endpoint.query().is_some() || endpoint.fragment().is_some() {
            return Err(refused("the address of its server has more than a host and a path"));
        }
        let host = endpoint.authority().to_owned();
        // No certificate covers a name with dots before the host.
        let style = match self.is_path_style || self.name.contains('.') {
            true => UrlStyle::Path,
            false => UrlStyle::VirtualHost,
        };
        let bucket = rusty_s3::Bucket::new(endpoint, style, self.name.clone(), self.region.clone());
        Ok((bucket.map_err(|error| refused(&error.to_string()))?, host))
    }

    /// Says what is wrong with it, if anything is.
    ///
    /// # Errors
    /// The endpoint or the name cannot be used.
    pub fn check(&self) -> Result<(), BucketError> {
        self.address().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stands_before_the_host_or_in_the_path() {
        let bucket = |name: &str, endpoint: Option<&str>, is_path_style| Bucket {
            name: name.to_owned(),
            region: "eu-west-1".to_owned(),
            endpoint: endpoint.map(str::to_owned),
            is_path_style,
        };
        for (bucket, expected) in [
            (bucket("b", None, false), Some("https://b.s3.eu-west-1.amazonaws.com/k/1")),
            (bucket("b", None, true), Some("https://s3.eu-west-1.amazonaws.com/b/k/1")),
            (bucket("b.c", None, false), Some("https://s3.eu-west-1.amazonaws.com/b.c/k/1")),
            (bucket("b", Some("http://h:9000"), true), Some("http://h:9000/b/k/1")),
            (bucket("b", Some("ftp://h"), true), None),
            (bucket("b", Some("h:9000"), true), None),
            (bucket("b", Some("https://me:secret@h"), true), None),
            (bucket("b", Some("https://h/?x"), true), None),
        ] {
            let url = bucket.address().ok().map(|(address, _)| address.object_url("k/1").to_string());
            assert_eq!(url.as_deref(), expected, "{bucket:?}");
        }
    }
}
