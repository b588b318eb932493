//! Images on their way, in Docker's words: `e4fff0779e6d: Pull complete`. Of a build's transfers nothing here is said.

use std::collections::BTreeSet;

use kiln_builder::progress::{Direction, LayerStage, ProgressEvent};
use kiln_oci::{Digest, Reference};

use super::{heading, human, short};

/// The image that is on its way, if one is, and its layers.
#[derive(Debug, Default)]
pub(super) struct Layers {
    direction: Option<Direction>,
    known: BTreeSet<Digest>,
}

/// What a display does with an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is none about an image on its way.
    Otherwise,
    /// Nothing is worth a line.
    Nothing,
    /// A line; of what is not final only a log has one.
    Line { text: String, is_final: bool },
    /// Bytes of a layer have moved.
    Moving { blob: Digest, text: String },
}

impl Layers {
    /// Takes an event.
    pub(super) fn on(&mut self, event: &ProgressEvent<'_>) -> Shown {
        match event {
            ProgressEvent::ImageMoves { reference, direction } => {
                self.direction = Some(*direction);
                self.known.clear();
                Shown::Line { text: heading_of(reference, *direction), is_final: true }
            }
            // A build pushes, too: its transfers are told as all others of it.
            ProgressEvent::Layer { .. } if self.direction.is_none() => Shown::Nothing,
            ProgressEvent::Layer { blob, stage } => {
                self.known.insert(*blob);
                let (text, is_final) = words(stage);
                Shown::Line { text: format!("{}: {text}", short(*blob)), is_final }
            }
            ProgressEvent::Transfer { blob, done, total, .. } => match self.direction {
                None => Shown::Otherwise,
                // Configurations are small, and the end of a layer has a line of its own.
                Some(_) if done == total || !self.is_layer(blob) => Shown::Nothing,
                Some(direction) => {
                    let amount = format!("{} of {}", human::size(*done), human::size(*total));
                    let word = match direction {
                        Direction::Pull => "Downloading",
                        Direction::Push => "Pushing",
                    };
                    Shown::Moving { blob: *blob, text: format!("{}: {word} {amount}", short(*blob)) }
                }
            },
            _ => Shown::Otherwise,
        }
    }

    /// Whether an image is on its way, and the blob one of its layers.
    pub(super) fn is_layer(&self, blob: &Digest) -> bool {
        self.known.contains(blob)
    }
}

fn heading_of(reference: &Reference, direction: Direction) -> String {
    let (registry, repository) = (reference.registry(), reference.repository());
    match (direction, reference.digest(), reference.tag()) {
        (Direction::Push, ..) => format!("The push refers to repository [{registry}/{repository}]"),
        (Direction::Pull, None, Some(tag)) => format!("{tag}: Pulling from {repository}"),
        (Direction::Pull, ..) => format!("{reference}: Pulling from {repository}"),
    }
}

/// Returns Docker's words, and whether nothing more is to come.
fn words(stage: &LayerStage<'_>) -> (String, bool) {
    let text = match stage {
        LayerStage::Pulling => return ("Pulling fs layer".to_owned(), false),
        LayerStage::Downloaded => return ("Download complete".to_owned(), false),
        LayerStage::Pulled => "Pull complete",
        LayerStage::Exists => "Already exists",
        LayerStage::Pushing => return ("Preparing".to_owned(), false),
        LayerStage::Pushed => "Pushed",
        LayerStage::ExistsThere => "Layer already exists",
        LayerStage::Mounted { from } => return (format!("Mounted from {}", heading(from, 300)), true),
    };
    (text.to_owned(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_on_their_way_are_told_in_the_words_of_docker() {
        let blob = Digest::of(b"layer");
        let id = short(blob);
        let mut layers = Layers::default();
        let transfer =
            |blob, done| ProgressEvent::Transfer { what: "library/a", blob, done, total: 3_000_000 };
        assert_eq!(layers.on(&transfer(blob, 1)), Shown::Otherwise);
        let pushed = ProgressEvent::Layer { blob, stage: LayerStage::Pushed };
        assert_eq!(layers.on(&pushed), Shown::Nothing, "a build's own");
        for (name, direction, expected) in [
            ("nginx:1.27", Direction::Pull, "1.27: Pulling from library/nginx"),
            ("gcr.io/a/b:v3", Direction::Pull, "v3: Pulling from a/b"),
            ("me/nginx:latest", Direction::Push, "The push refers to repository [docker.io/me/nginx]"),
        ] {
            let reference = name.parse().unwrap();
            let shown = layers.on(&ProgressEvent::ImageMoves { reference: &reference, direction });
            assert_eq!(shown, Shown::Line { text: expected.to_owned(), is_final: true });
        }
        let exact: Reference = format!("nginx@{blob}").parse().unwrap();
        let text = format!("docker.io/library/nginx@{blob}: Pulling from library/nginx");
        assert_eq!(heading_of(&exact, Direction::Pull), text);
        for (stage, expected, is_final) in [
            (LayerStage::Pulling, "Pulling fs layer", false),
            (LayerStage::Downloaded, "Download complete", false),
            (LayerStage::Pulled, "Pull complete", true),
            (LayerStage::Exists, "Already exists", true),
            (LayerStage::Pushing, "Preparing", false),
            (LayerStage::Pushed, "Pushed", true),
            (LayerStage::ExistsThere, "Layer already exists", true),
            (LayerStage::Mounted { from: "library/a" }, "Mounted from library/a", true),
        ] {
            let shown = layers.on(&ProgressEvent::Layer { blob, stage });
            assert_eq!(shown, Shown::Line { text: format!("{id}: {expected}"), is_final });
        }
        let moving = Shown::Moving { blob, text: format!("{id}: Pushing 1MB of 3MB") };
        assert_eq!(layers.on(&transfer(blob, 1_000_000)), moving);
        assert_eq!(layers.on(&transfer(blob, 3_000_000)), Shown::Nothing);
        assert_eq!(layers.on(&transfer(Digest::of(b"configuration"), 1)), Shown::Nothing);
    }
}
