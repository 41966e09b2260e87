//! Two and three sites on a model.
