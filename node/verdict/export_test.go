package verdict

import "github.com/watchward/watchward/node/notice"

// Left returns what is left of a base score by a model of a lifetime (days).
func Left(lifetime, delta float64, age int64) float64 { return days(lifetime, delta).left(age) }

// LeftOf is Left by the model of a type.
func LeftOf(t notice.Type, age int64) float64 { return modelOf(t).left(age) }
