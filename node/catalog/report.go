package catalog

var reportTexts = texts{}
