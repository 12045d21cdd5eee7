pub mod feed;
pub mod intake;
pub mod output;
