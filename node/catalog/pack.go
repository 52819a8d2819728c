package catalog

var packTexts = texts{}
