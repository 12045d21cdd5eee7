pub mod run;
pub mod status_line;
