//! Images: found in the engine, pulled, or made FROM scratch out of an executable and its shared libraries.

use super::bundle::Bundle;
use super::engine::{IMAGE_LABEL, is_status};
use crate::runtime::RuntimeError;
use crate::runtime::files::failed;
use bollard::Docker;
use bollard::query_parameters as query;
use futures::StreamExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a registry may take to say anything at all.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(5);
/// How long a pull may take.
const PULL_WITHIN: Duration = Duration::from_secs(180);

/// An image that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Repository.
    pub(super) name: String,
    /// Tag.
    pub(super) tag: String,
    /// Entry point to set; `None`: the image's own.
    pub(super) entry: Option<String>,
}

impl Image {
    /// Splits `name:tag`; without a tag it is `latest`. A colon before a slash is a registry's port.
    pub(super) fn named(reference: &str, entry: Option<String>) -> Self {
        let (name, tag) = match reference.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            Some(_) | None => (reference, "latest"),
        };
        Self { name: name.to_owned(), tag: tag.to_owned(), entry }
    }

    /// `name:tag`.
    pub(super) fn reference(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }
}

/// Whether the engine has it.
pub(super) async fn is_local(docker: &Docker, reference: &str) -> Result<bool, RuntimeError> {
    match docker.inspect_image(reference).await {
        Ok(_) => Ok(true),
        Err(error) if is_status(&error, 404) => Ok(false),
        Err(error) => Err(failed(format!("looking for image `{reference}`"), error)),
    }
}

/// The first local image of a repository, in the engine's order (newest first).
pub(super) async fn local_of(docker: &Docker, repository: &str) -> Result<Option<String>, RuntimeError> {
    let filters = std::collections::HashMap::from([("reference".to_owned(), vec![repository.to_owned()])]);
    let options = query::ListImagesOptions { filters: Some(filters), ..Default::default() };
    let images = docker.list_images(Some(options)).await;
    let images = images.map_err(|error| failed(format!("looking for images of `{repository}`"), error))?;
    Ok(images.into_iter().flat_map(|image| image.repo_tags).find(|tag| !tag.contains("<none>")))
}

/// Pulls an image; gives up after 5 s without a word, and after 3 minutes in any case.
pub(super) async fn pull(docker: &Docker, reference: &str) -> Result<(), RuntimeError> {
    let image = Image::named(reference, None);
    let options =
        query::CreateImageOptions { from_image: Some(image.name), tag: Some(image.tag), ..Default::default() };
    let no = |seen: String| RuntimeError::NoImage { image: reference.to_owned(), seen };
    let mut said = Box::pin(docker.create_image(Some(options), None, None));
    let first = tokio::time::timeout(FIRST_WORD_WITHIN, said.next()).await;
    let first = first.map_err(|_| no(format!("no registry answered within {} s", FIRST_WORD_WITHIN.as_secs())))?;
    if let Some(Err(error)) = first {
        return Err(no(error.to_string()));
    }
    let rest = tokio::time::timeout(PULL_WITHIN, async {
        while let Some(word) = said.next().await {
            word.map_err(|error| no(error.to_string()))?;
        }
        Ok(())
    });
    rest.await.map_err(|_| no(format!("the pull took longer than {} s", PULL_WITHIN.as_secs())))?
}

/// The image of an executable: `<name>:<hash of its files>`, made if the engine does not have it. Its tag names its content, so
/// that it is used again by the next run and concurrent runs do not disturb each other.
///
/// `libraries`: folder looked into first for shared libraries. `scratch`: folder for one temporary file.
///
/// # Errors
/// A library that is missing, or what the engine answered.
pub(super) async fn image_from_executable(
    docker: &Docker,
    repository: &str,
    executable: &Path,
    libraries: Option<&Path>,
    scratch: &Path,
) -> Result<Image, RuntimeError> {
    let (place, libraries, scratch): (PathBuf, Option<PathBuf>, PathBuf) =
        (executable.to_owned(), libraries.map(Path::to_owned), scratch.to_owned());
    let bundled = blocking("reading an executable", move || {
        let bundle = Bundle::of(&place, libraries.as_deref())?;
        let digest = bundle.digest()?;
        Ok((bundle, digest))
    });
    let (bundle, digest) = bundled.await?;
    let image = Image { name: repository.to_owned(), tag: digest, entry: Some(bundle.entry.clone()) };
    if is_local(docker, &image.reference()).await? {
        return Ok(image);
    }
    let tar = blocking("packing an executable", move || bundle.tar(&scratch)).await?;
    let options = query::CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(image.name.clone()),
        tag: Some(image.tag.clone()),
        changes: vec![format!("LABEL {IMAGE_LABEL}={repository}")],
        ..Default::default()
    };
    let mut said = Box::pin(docker.create_image(Some(options), Some(bollard::body_full(tar.into())), None));
    while let Some(word) = said.next().await {
        word.map_err(|error| failed(format!("making image `{}`", image.reference()), error))?;
    }
    Ok(image)
}

/// Work that reads and packs megabytes, on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| failed(doing.to_owned(), error))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("redis", "redis", "latest"; "no tag")]
    #[test_case("redis:7", "redis", "7"; "tag")]
    #[test_case("host:5000/a/b", "host:5000/a/b", "latest"; "registry port")]
    #[test_case("host:5000/a/b:1", "host:5000/a/b", "1"; "registry port and tag")]
    fn references_are_split(reference: &str, name: &str, tag: &str) {
        let image = Image::named(reference, None);
        assert_eq!((image.name.as_str(), image.tag.as_str()), (name, tag));
    }
}
