//! Arguments of `testwire dashboards`.

use std::path::PathBuf;

use clap::Subcommand;

use super::Refusal;
use crate::config::{Settings, Typed};

/// What `testwire dashboards` shall do.
#[derive(Debug)]
pub enum Dashboards {
    /// Write the dashboards into a directory.
    Export {
        /// Made if it is not there.
        directory: PathBuf,
    },
    /// Put them into a Grafana, or remove them.
    Install {
        /// Settings.
        settings: Box<Settings>,
        /// Title of the folder.
        folder: String,
        /// Name or uid of the data source.
        datasource: Option<String>,
        /// Only say what would be done.
        dry_run: bool,
        /// Remove them.
        uninstall: bool,
    },
    /// Print the alert rules.
    Alerts {
        /// Uid of the data source.
        datasource: Option<String>,
        /// Whether they are switched on.
        on: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write the dashboards into a directory, as JSON
    #[command(after_help = super::examples::DASHBOARDS)]
    Export {
        /// Directory; made if it is not there
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Put the dashboards into a Grafana, and say what changes
    ///
    /// They go by Grafana's HTTP API into a folder, and replace those with the same uid. Nothing is sent where nothing would
    /// change. Dashboards that Grafana reads from files on its own machine are left alone.
    #[command(after_long_help = super::examples::DASHBOARDS_INSTALL, after_help = super::examples::MORE)]
    Install {
        /// Title of the folder; made if it is not there
        #[arg(long, value_name = "TITLE", default_value = "testwire")]
        folder: String,
        /// Name or uid of the data source, where Grafana has several of type Loki
        #[arg(long, value_name = "NAME")]
        datasource: Option<String>,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Remove the dashboards, and the folder if nothing else is in it
        #[arg(long)]
        uninstall: bool,
        #[command(flatten)]
        typed: Typed,
    },
    /// Print alert rules for Grafana's provisioning folder, switched off unless --on
    #[command(after_help = super::examples::DASHBOARDS_ALERTS)]
    Alerts {
        /// Uid of the data source, if it is not testwire-loki
        #[arg(long, value_name = "UID")]
        datasource: Option<String>,
        /// Switch the rules on
        #[arg(long)]
        on: bool,
    },
}

impl Command {
    /// With settings, where they are needed.
    pub(super) fn resolve(
        self,
        load: impl Fn(&Typed) -> Result<Box<Settings>, Refusal>,
    ) -> Result<Dashboards, Refusal> {
        Ok(match self {
            Self::Export { directory } => Dashboards::Export { directory },
            Self::Install { folder, datasource, dry_run, uninstall, typed } => {
                Dashboards::Install { settings: load(&typed)?, folder, datasource, dry_run, uninstall }
            }
            Self::Alerts { datasource, on } => Dashboards::Alerts { datasource, on },
        })
    }
}
