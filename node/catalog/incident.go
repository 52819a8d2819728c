package catalog

var incidentTexts = texts{}
