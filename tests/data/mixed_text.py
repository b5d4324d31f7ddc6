"""A text of many scripts, quotation marks, joined emoji and spaces of every kind."""

MIXED = "The Time Traveller's “machine” — 时间旅行者,門が開いた。 🕰️👩‍👩‍👧 naïve e\u0301\n\n\tfin  \n"
