//! Why Loki refused an entry, by Loki's own names.

/// The label `reason` of `loki_discarded_samples_total` where the text of an answer tells it (Loki 3.7
/// `pkg/validation/validate.go`, `pkg/chunkenc/interface.go`), and a few of our own for what has no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The time is before `reject_old_samples_max_age`.
    GreaterThanMaxSampleAge,
    /// The time is more than an hour behind the newest of its stream.
    TooFarBehind,
    /// The time is past `creation_grace_period`.
    TooFarInFuture,
    /// The line is above `max_line_size`.
    LineTooLong,
    /// Above `max_structured_metadata_size`.
    StructuredMetadataTooLarge,
    /// Above `max_structured_metadata_entries_count`.
    StructuredMetadataTooMany,
    /// `allow_structured_metadata` is off.
    DisallowedStructuredMetadata,
    /// No label at all.
    MissingLabels,
    /// The labels do not parse.
    InvalidLabels,
    /// Above `max_label_names_per_series`.
    MaxLabelNamesPerSeries,
    /// Above `max_label_name_length`.
    LabelNameTooLong,
    /// Above `max_label_value_length`.
    LabelValueTooLong,
    /// A label twice.
    DuplicateLabelNames,
    /// A label that the tenant requires is not there.
    MissingEnforcedLabels,
    /// One entry alone is larger than a request may be (413, or 500 of Loki's own gRPC limit); our own name.
    RequestTooLarge,
    /// An answer that names none of these.
    Unknown,
}

/// What else is surely refused when one entry was refused by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Nothing: the reason is in the entry.
    Entry,
    /// Every entry of the stream that is as old or older.
    Older,
    /// Every entry of the stream that is as new or newer.
    Newer,
    /// Every entry of the stream: the reason is in its labels.
    Stream,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 16] = [
        Self::GreaterThanMaxSampleAge,
        Self::TooFarBehind,
        Self::TooFarInFuture,
        Self::LineTooLong,
        Self::StructuredMetadataTooLarge,
        Self::StructuredMetadataTooMany,
        Self::DisallowedStructuredMetadata,
        Self::MissingLabels,
        Self::InvalidLabels,
        Self::MaxLabelNamesPerSeries,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::DuplicateLabelNames,
        Self::MissingEnforcedLabels,
        Self::RequestTooLarge,
        Self::Unknown,
    ];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GreaterThanMaxSampleAge => "greater_than_max_sample_age",
            Self::TooFarBehind => "too_far_behind",
            Self::TooFarInFuture => "too_far_in_future",
            Self::LineTooLong => "line_too_long",
            Self::StructuredMetadataTooLarge => "structured_metadata_too_large",
            Self::StructuredMetadataTooMany => "structured_metadata_too_many",
            Self::DisallowedStructuredMetadata => "disallowed_structured_metadata",
            Self::MissingLabels => "missing_labels",
            Self::InvalidLabels => "invalid_labels",
            Self::MaxLabelNamesPerSeries => "max_label_names_per_series",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::DuplicateLabelNames => "duplicate_label_names",
            Self::MissingEnforcedLabels => "missing_enforced_labels",
            Self::RequestTooLarge => "request_too_large",
            Self::Unknown => "unknown",
        }
    }

    /// Reads it from the text of a 400. With several reasons in the text it is the first of the table below, so only
    /// the answer to a push of one entry is exact; and even then Loki may have put an ingester's reason over a
    /// distributor's.
    pub fn of(answer: &str) -> Self {
        /// What only this reason's text says, whatever stands in the places for labels and numbers.
        const MARKS: [(&str, Reason); 15] = [
            ("has timestamp too old", Reason::GreaterThanMaxSampleAge),
            ("entry too far behind", Reason::TooFarBehind),
            ("has timestamp too new", Reason::TooFarInFuture),
            ("max entry size", Reason::LineTooLong),
            ("has structured metadata too large", Reason::StructuredMetadataTooLarge),
            ("has too many structured metadata labels", Reason::StructuredMetadataTooMany),
            ("includes structured metadata, but this feature is disallowed", Reason::DisallowedStructuredMetadata),
            ("at least one label pair is required", Reason::MissingLabels),
            ("error parsing labels", Reason::InvalidLabels),
            ("couldn't parse labels", Reason::InvalidLabels),
            ("label names; limit", Reason::MaxLabelNamesPerSeries),
            ("has label name too long", Reason::LabelNameTooLong),
            ("has label value too long", Reason::LabelValueTooLong),
            ("has duplicate label name", Reason::DuplicateLabelNames),
            ("missing required labels", Reason::MissingEnforcedLabels),
        ];
        MARKS.iter().find(|(mark, _)| answer.contains(mark)).map_or(Self::Unknown, |(_, reason)| *reason)
    }

    /// What a refusal of one entry for this reason says about others of its stream at the same time.
    pub fn covers(self) -> Covers {
        match self {
            Self::GreaterThanMaxSampleAge | Self::TooFarBehind => Covers::Older,
            Self::TooFarInFuture => Covers::Newer,
            Self::MissingLabels
            | Self::InvalidLabels
            | Self::MaxLabelNamesPerSeries
            | Self::LabelNameTooLong
            | Self::LabelValueTooLong
            | Self::DuplicateLabelNames
            | Self::MissingEnforcedLabels => Covers::Stream,
            Self::LineTooLong
            | Self::StructuredMetadataTooLarge
            | Self::StructuredMetadataTooMany
            | Self::DisallowedStructuredMetadata
            | Self::RequestTooLarge
            | Self::Unknown => Covers::Entry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_loki_3_7_is_known_by_its_own_reason() {
        let cases = [
            (
                "20 errors like: entry for stream '{a=\"b\", service_name=\"unknown_service\"}' has timestamp too old: \
                 2026-11-12T12:11:53Z, oldest acceptable timestamp is: 2026-11-13T12:11:53Z",
                Reason::GreaterThanMaxSampleAge,
            ),
            (
                "entry with timestamp 2026-11-20 10:11:53.029842288 +0000 UTC ignored, reason: 'entry too far behind, entry \
                 timestamp is: 2026-11-20T10:11:53Z, oldest acceptable timestamp is: 2026-11-20T11:11:53Z',\nuser 'fake', \
                 total ignored: 2 out of 2 for stream: {a=\"b\"}",
                Reason::TooFarBehind,
            ),
            (
                "3 errors like: entry for stream '{a=\"b\"}' has timestamp too new: 2026-11-21T12:11:53Z",
                Reason::TooFarInFuture,
            ),
            (
                "1 errors like: max entry size '262144' bytes exceeded for stream '{a=\"b\"}' while adding an entry with \
                 length '300000' bytes",
                Reason::LineTooLong,
            ),
            ("stream '{a=\"xxx\"}' has label value too long: 'xxx'", Reason::LabelValueTooLong),
            ("", Reason::Unknown),
            ("Bad Request", Reason::Unknown),
        ];
        for (answer, reason) in cases {
            assert_eq!(Reason::of(answer), reason, "{answer}");
        }
    }

    #[test]
    fn every_reason_is_listed_once_under_its_own_name() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().enumerate().all(|(i, reason)| *reason as usize == i));
    }
}
