"""Operations on single objects."""
