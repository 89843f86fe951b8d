//! What an operator does to one model of a running predictor: loads it, takes it out of service, or gives the traffic to
//! another of its versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use service::nearest;
use toml_edit::DocumentMut;

use crate::app::App;
use crate::model::config::{ModelFile, Serve};
use crate::model::{ModelName, repository};
use crate::predict::shortened;
use crate::reload::ReloadError;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such model.
    #[error("there is no model `{name}` in the repository{hint}")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The nearest name.
        hint: String,
    },
    /// Models are not to be controlled by callers.
    #[error("this predictor does not let callers control its models: it was started with --model-control false")]
    Forbidden,
    /// What its files say does not fit.
    #[error("model `{name}` is refused: {}", .reasons.join("; "))]
    Refused {
        /// The model.
        name: ModelName,
        /// Everything that is wrong.
        reasons: Vec<String>,
    },
    /// `model.toml` cannot be changed.
    #[error("{} cannot be changed: {why}; change `serve` where the repository comes from", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nothing could be reloaded.
    #[error(transparent)]
    Reload(#[from] ReloadError),
}

impl App {
    /// Loads a model, as its files are now; one that was unloaded serves again.
    ///
    /// # Errors
    /// [`ControlError`]; what served serves on.
    pub async fn load_model(self: &Arc<Self>, name: &str) -> Result<(), ControlError> {
        let name = self.known(name)?;
        self.to_its_end(|app| async move {
            let mut unloaded = app.reloading().lock().await;
            let was_unloaded = unloaded.remove(&name);
            let outcome = app.reload_without(&unloaded).await;
            if outcome.is_err() && was_unloaded {
                unloaded.insert(name.clone());
            }
            outcome?;
            let models = app.models();
            match models.get(name.as_str()) {
                Some(entry) if entry.served.is_none() || entry.is_kept => Err(ControlError::Refused {
                    reasons: entry.problems.clone(),
                    name,
                }),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Takes a model out of service, until it is loaded or the predictor starts anew.
    ///
    /// # Errors
    /// [`ControlError`]; it serves on.
    pub async fn unload_model(self: &Arc<Self>, name: &str) -> Result<(), ControlError> {
        let name = self.known(name)?;
        self.to_its_end(|app| async move {
            let mut unloaded = app.reloading().lock().await;
            unloaded.insert(name.clone());
            let outcome = app.reload_without(&unloaded).await;
            if outcome.is_err() {
                unloaded.remove(&name);
            }
            Ok(outcome?)
        })
        .await
    }

    /// Gives a model's traffic to `serve`, by writing so into its `model.toml`: all predictors that share the repository
    /// follow, and restarts keep it. A canary of that version has had its time, and goes.
    ///
    /// # Errors
    /// [`ControlError`]: the version does not fit, or the file cannot be written; what served serves on.
    pub async fn promote(self: &Arc<Self>, name: &str, serve: Serve) -> Result<(), ControlError> {
        let name = self.known(name)?;
        self.to_its_end(|app| async move {
            let unloaded = app.reloading().lock().await;
            if unloaded.contains(&name) {
                let reasons = vec!["it is unloaded: load it first".to_owned()];
                return Err(ControlError::Refused { name, reasons });
            }
            let path = repository::model_file(&app.loader().dir, &name);
            let file = |why: String| ControlError::File {
                path: path.clone(),
                why,
            };
            let before = fs::read_to_string(&path).map_err(|e| file(e.to_string()))?;
            let after = promoted(&before, &serve).map_err(&file)?;
            // First of all it is tried, so that nobody reads a file that does not fit.
            let settings: ModelFile = toml::from_str(&after).map_err(|e| file(e.to_string()))?;
            let trying = {
                let (app, name) = (Arc::clone(&app), name.clone());
                tokio::task::spawn_blocking(move || app.try_file(&name, settings))
            };
            if let Err(reasons) = trying.await.map_err(ReloadError::Ended)?? {
                return Err(ControlError::Refused { name, reasons });
            }
            // Others may have changed it meanwhile.
            if fs::read_to_string(&path).map_err(|e| file(e.to_string()))? != before {
                return Err(file("it has changed meanwhile: look at it, and ask again".to_owned()));
            }
            write(&path, &after).map_err(|e| file(e.to_string()))?;
            Ok(app.reload_without(&unloaded).await?)
        })
        .await
    }

    /// What `doing` gives: done also if the caller does not wait for it, so that nothing is left half-way.
    async fn to_its_end<F>(self: &Arc<Self>, doing: impl FnOnce(Arc<Self>) -> F) -> Result<(), ControlError>
    where
        F: Future<Output = Result<(), ControlError>> + Send + 'static,
    {
        let done = tokio::spawn(doing(Arc::clone(self))).await;
        done.unwrap_or_else(|ended| Err(ReloadError::Ended(ended).into()))
    }

    /// The repository's model of this name, loaded or not.
    fn known(&self, name: &str) -> Result<ModelName, ControlError> {
        if !self.is_controlled() {
            return Err(ControlError::Forbidden);
        }
        let dir = &self.loader().dir;
        let parsed = name.parse().ok().filter(|name| repository::holds(dir, name));
        parsed.ok_or_else(|| {
            let known = repository::folders(dir)
                .map(|folders| folders.models)
                .unwrap_or_default();
            ControlError::UnknownModel {
                hint: nearest::hint(name, known.iter().map(ModelName::as_str)),
                name: shortened(name),
            }
        })
    }
}

/// `model.toml` with `serve = "…"`, and all else as it was, comments too.
fn promoted(text: &str, serve: &Serve) -> Result<String, String> {
    let serve = serve.to_string();
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.to_string())?;
    match document.get_mut("serve").and_then(|item| item.as_value_mut()) {
        Some(value) => {
            let decor = value.decor().clone();
            *value = serve.as_str().into();
            *value.decor_mut() = decor;
        }
        None => {
            document.insert("serve", toml_edit::value(serve.as_str()));
        }
    }
    let canary = document.get("canary").and_then(|canary| canary.get("version"));
    if canary.and_then(|canary| canary.as_str()) == Some(serve.as_str()) {
        document.remove("canary");
    }
    Ok(document.to_string())
}

/// In whole or not at all.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // Of a name of its own, since others may share the repository.
    let new = path.with_extension(format!("toml.{}", uuid::Uuid::new_v4().simple()));
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::metadata(path)?.permissions())?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_changes_what_it_must_and_no_more() {
        let text = "# Ours.\nserve = \"3\" # since May\ndeadline = \"50ms\"\ncanary = { version = \"4\", share = 0.1 }\nshadow = \"5\"\n";
        let version = |text: &str| Serve::try_from(text.to_owned()).unwrap();
        let four = promoted(text, &version("4")).unwrap();
        assert_eq!(
            four,
            "# Ours.\nserve = \"4\" # since May\ndeadline = \"50ms\"\nshadow = \"5\"\n"
        );
        let two = promoted(text, &version("2")).unwrap();
        assert_eq!(two, text.replace("\"3\"", "\"2\""));
        assert_eq!(
            promoted("deadline = \"1s\"\n", &version("2")).unwrap(),
            "deadline = \"1s\"\nserve = \"2\"\n"
        );
        assert_eq!(
            promoted("[cache]\ntier = \"off\"\n", &version("2")).unwrap(),
            "serve = \"2\"\n[cache]\ntier = \"off\"\n"
        );
    }
}
