package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/sizes"
)

func sizesSpec(said *config.SizesFilter) *sizes.Spec {
	return &sizes.Spec{TargetBytesMax: int(said.TargetBytes), HeadBytesMax: int(said.HeadBytes), FieldsMax: said.Fields, BodyBytesMax: said.BodyBytes}
}
