package catalog

var drillTexts = texts{}
