mod gotext;
mod inject;
