"""What the making of one system may spend in clips and minutes, and what it has spent, also before it was interrupted."""

from collections.abc import Sequence

from foleyray.search.config import SearchConfig
from foleyray.search.study import ClassStudy


class Budget:
    """Counts the trials that are over, as the journals remember them; what a killed trial had done is not among them."""

    def __init__(self, settings: SearchConfig, studies: Sequence[ClassStudy]) -> None:
        self.settings, self.clips, self.seconds = settings, 0, 0.0
        self.begun: set[ClassStudy] = set()
        for study in studies:
            for trial in study.tried():
                self.begin(study)
                self.add(trial.clips, trial.seconds)

    def begin(self, study: ClassStudy) -> None:
        """A trial of this study begins."""
        self.begun.add(study)

    def add(self, clips: int, seconds: float) -> None:
        """A trial is over."""
        self.clips += clips
        self.seconds += seconds

    def allows(self, study: ClassStudy, num_running: int) -> bool:
        """Whether one more trial may begin beside those that run, each with all its clips; a start point always may."""
        return study not in self.begun or self._has_room(num_running)

    def is_spent(self, study: ClassStudy) -> bool:
        """Whether no trial of this study may begin any more, whatever those that run will have spent."""
        return not self.allows(study, 0)

    def left(self, studies: Sequence[ClassStudy]) -> list[ClassStudy]:
        """Those of which a trial may still begin."""
        return [study for study in studies if study.num_left and not self.is_spent(study)]

    def _has_room(self, num_running: int) -> bool:
        most_clips, minutes = self.settings.max_clips, self.settings.max_minutes
        if most_clips is not None and self.clips + (num_running + 1) * self.settings.clips > most_clips:
            return False
        return minutes is None or self.seconds < 60 * minutes
